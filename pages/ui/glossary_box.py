"""The glossary on a page."""

import streamlit as st

from sds_core.lesson.glossary import GLOSSARY


def explain(*terms: str) -> None:
    """An expander with the sentence on each term."""
    with st.expander("Words on this page"):
        _sentences(terms)


def popover(*terms: str) -> None:
    """A button that opens the sentences, where a page has no room below its picture."""
    with st.popover("Words", help="What the words on this page mean"):
        _sentences(terms)


def _sentences(terms: tuple[str, ...]) -> None:
    st.markdown("\n".join(f"- **{term}**: {GLOSSARY[term]}" for term in terms))
