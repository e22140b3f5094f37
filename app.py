"""SDS Studio in the browser: streamlit run app.py."""

import streamlit as st
from starlette.middleware import Middleware

from pages.ui import layout, warm_up
from pages.ui.own_pages import OwnPagesOnly

if __name__ == "__main__":  # drawing a page
    from pages.ui import class_bar  # its caches belong to a server that runs

    layout.warn_if_open()
    st.session_state["routed"] = True
    page = layout.navigate()
    class_bar.show()
    page.run()
    warm_up.drawn.set()
else:  # imported once, by the server
    app = st.App(__file__, middleware=[Middleware(OwnPagesOnly)], lifespan=warm_up.behind_the_first_page)
