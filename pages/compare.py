"""Compare: which of the chosen runs is better, is it sure, on which windows of text, and where it comes from."""

import streamlit as st

from pages.ui import layout

layout.routed()
layout.compact("Compare: which is better, and how certain is that?", above=8)
with st.spinner("Loading the engine …"):
    from pages.ui import compare_more, compare_page
compare_page.show("There are no runs yet. Begin on the Start page, or in the Studio.", compare_more.show)
