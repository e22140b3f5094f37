"""The glossary on a page."""

import streamlit as st

from pages.ui import layout
from sds_core.lesson.glossary import GLOSSARY

BAR = """<style>
.st-key-aside { position: fixed; top: 2px; right: var(--bar-right, 56px); width: auto; z-index: 1000000; }
:has(> .st-key-aside) { position: absolute; }
.st-key-aside p { font-size: 14px; }
@media (max-width: 900px) { .st-key-aside, :has(> .st-key-aside) { position: static; } }
</style>"""
"""The place beside the navigation, a container with the key `aside`."""


def popover(*terms: str) -> None:
    """Show a button that opens the sentences, where a page has no room below its picture."""
    with st.popover("Words"):
        _sentences(terms)


def in_bar(*terms: str) -> None:
    """Show the button beside the navigation, which a projector goes without."""
    if layout.presenting():
        return
    st.html(BAR)
    with st.container(key="aside"):
        popover(*terms)


def _sentences(terms: tuple[str, ...]) -> None:
    st.markdown("\n".join(f"- **{term}**: {GLOSSARY[term]}" for term in terms))
