"""SDS Studio in the browser: streamlit run app.py."""

import streamlit as st

from pages.ui import layout

layout.warn_if_open()
st.session_state["routed"] = True
layout.navigate().run()
