"""SDS Studio for a class: Walk, Micro, Layer lab, and the teacher's runs, read-only. See `serve.py`."""

import streamlit as st
from starlette.middleware import Middleware

from pages.ui.own_pages import OwnPagesOnly

STYLE = """<style>
[data-testid=stElementContainer]:has(.class-mode) { position: absolute; }
.class-mode { position: fixed; top: 12px; right: 56px; z-index: 1000000; font-size: 13px; opacity: .85; }
:root { --bar-right: 240px; }
@media (max-width: 700px) {
  [data-testid=stMainBlockContainer]:has(.st-key-studio, .st-key-compare) { overflow-x: auto; }
  .st-key-studio, .st-key-compare { min-width: 800px; }
  .st-key-scope { position: static !important; }
}
@media (max-width: 900px) { .class-mode { top: 14px; } }
</style>"""
MODE = "<div class='class-mode'>Class: to look at and guess</div>"

if __name__ == "__main__":  # drawing a page
    page = st.navigation(
        [
            st.Page("start.py", title="Start", default=True),
            st.Page("walk.py", title="Walk"),
            st.Page("micro.py", title="Micro"),
            st.Page("lab.py", title="Layer lab"),
            st.Page("studio.py", title="Studio"),
            st.Page("compare.py", title="Compare"),
        ],
        position="top",
    )
    st.set_page_config(page_title=f"{page.title} · Class · SDS Studio", layout="wide", page_icon="🧮")
    st.html(STYLE + MODE)
    page.run()
else:  # imported once, by the server
    app = st.App(__file__, middleware=[Middleware(OwnPagesOnly)])
