"""Micro: what each pruner compares, on an 8×8 layer that can be followed by hand."""

import streamlit as st

from pages.ui import layout

layout.routed()
layout.compact(size=15)
with st.spinner("Loading the engine …"):  # torch takes seconds the first time: the navigation need not wait for it
    from pages.ui import micro_page
micro_page.show(layout.load_pruners)
