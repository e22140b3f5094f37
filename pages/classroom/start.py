"""The first page of a class: what there is to see, and the way to the Walk."""

from __future__ import annotations

import streamlit as st

from pages.ui import layout, opening
from pages.ui.pictures import start
from sds_core.errors import SDSError

WORDS = (
    "Half the weights in every layer of a language model set to zero: see what that breaks, and what pruning, filling "
    "in and pruning again wins back.\n\nYou are in a class. Look at everything; nothing here can be changed. Your "
    "guesses on the Walk are counted on the teacher’s screen, without your name."
)

layout.compact(size=15)
with st.container(key="columns"):
    with st.container(key="beside-words"):
        st.html("<h1>Welcome</h1>")
        st.markdown(WORDS)
        st.page_link(
            "walk.py",
            label="**Begin the Walk: eight questions**",
            icon=":material/directions_walk:",
            query_params=layout.onward({"step": "1"}),
        )
    with st.container(key="picture"):
        try:
            if numbers := opening.numbers(layout.presenting()):
                start.mount(numbers, key="start")
        except SDSError as error:
            layout.refuse(error)
