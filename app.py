"""SDS Studio in the browser: streamlit run app.py."""

import streamlit as st

from pages.shared import frame

frame.configure()
st.session_state["routed"] = True
st.navigation(frame.pages()).run()
