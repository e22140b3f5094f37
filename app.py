"""SDS Studio in the browser: streamlit run app.py."""

import streamlit as st

from pages.ui import layout

layout.configure()
st.session_state["routed"] = True
st.navigation(layout.pages(), position="top").run()
