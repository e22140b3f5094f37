"""On every page of a teacher with a class: that it is one, where the class joins, and what it may look at."""

from __future__ import annotations

import streamlit as st

from pages.ui import cached, layout
from sds_core.errors import SDSError
from sds_core.lesson.classroom import Classroom, current

KEY = "class-shares"
STYLE = """<style>
.st-key-class { position: fixed; top: 4px; right: 330px; width: auto; z-index: 1000000; }
:has(> .st-key-class) { position: absolute; }
body:has(.st-key-walk-handout) .st-key-class { right: 500px; }
.st-key-class p { font-size: 14px; }
@media (max-width: 900px) { .st-key-class, :has(> .st-key-class) { position: static; } }
</style>"""


def show() -> None:
    """Show the button and what opens from it; nothing without a class, and on a projector."""
    classroom = current()
    if classroom is None:
        return
    _keep_up(classroom)
    if layout.presenting():
        return
    st.html(STYLE)
    with st.container(key="class"), st.popover("Class mode: teacher", icon=":material/groups:"):
        st.markdown("The class joins in a browser at")
        st.html(f"<div style='font-size: 26px; white-space: nowrap'>{classroom.address}</div>")
        _voters(classroom)
        names = [line.name for line in cached.experiments()]
        st.session_state[KEY] = [name for name in classroom.shared if name in names]
        st.multiselect(
            "Experiments that it may look at", names, key=KEY, on_change=_share, args=(classroom,), width=320
        )


@st.fragment(run_every=2)
def _keep_up(classroom: Classroom) -> None:
    """Show the class the runs that have begun since, whatever page the teacher is on."""
    try:
        classroom.refresh()
    except SDSError as error:
        layout.refuse(error)


@st.fragment(run_every=2)
def _voters(classroom: Classroom) -> None:
    """Say how many have guessed."""
    voters = classroom.votes.voters
    st.caption(f"{voters} {'has' if voters == 1 else 'have'} guessed so far; the Walk shows how.")


def _share(classroom: Classroom) -> None:
    try:
        classroom.share(st.session_state[KEY])
    except SDSError as error:
        layout.refuse(error)
