"""SDS Studio in the browser: streamlit run app.py."""

import streamlit as st
from starlette.middleware import Middleware

from pages.ui import class_bar, layout
from pages.ui.own_pages import OwnPagesOnly

if __name__ == "__main__":  # drawing a page
    layout.warn_if_open()
    st.session_state["routed"] = True
    page = layout.navigate()
    class_bar.show()
    page.run()
else:  # imported once, by the server
    app = st.App(__file__, middleware=[Middleware(OwnPagesOnly)])
