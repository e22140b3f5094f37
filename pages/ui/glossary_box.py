"""The glossary on a page."""

import streamlit as st

from sds_core.lesson.glossary import GLOSSARY


def explain(*terms: str) -> None:
    """Show the sentence on each term in an expander."""
    with st.expander("Words on this page"):
        _sentences(terms)


def popover(*terms: str) -> None:
    """Show a button that opens the sentences, where a page has no room below its picture."""
    with st.popover("Words", help="What the words on this page mean"):
        _sentences(terms)


def _sentences(terms: tuple[str, ...]) -> None:
    st.markdown("\n".join(f"- **{term}**: {GLOSSARY[term]}" for term in terms))
