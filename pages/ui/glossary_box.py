"""The glossary on a page."""

import streamlit as st

from sds_core.lesson.glossary import GLOSSARY


def explain(*terms: str) -> None:
    """An expander with the sentence on each term."""
    with st.expander("Words on this page"):
        st.markdown("\n".join(f"- **{term}**: {GLOSSARY[term]}" for term in terms))
