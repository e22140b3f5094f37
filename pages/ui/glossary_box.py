"""The glossary on a page."""

import streamlit as st

from sds_core.lesson.glossary import GLOSSARY

TITLES = {"magnitude": "Magnitude", "wanda": "Wanda", "sparsegpt": "SparseGPT"}


def pruner(name: str) -> str:
    """A pruner's name as its paper writes it; its own where there is none."""
    return TITLES.get(name, name)


def explain(*terms: str) -> None:
    """An expander with the sentence on each term."""
    with st.expander("Words on this page"):
        st.markdown("\n".join(f"- **{term}**: {GLOSSARY[term]}" for term in terms))
