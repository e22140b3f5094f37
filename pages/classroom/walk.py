"""The Walk of a class: every guess before a reveal is a vote."""

from __future__ import annotations

import re
import secrets

import streamlit as st

from pages.classroom.ballot_box import BALLOT, FOLDER
from pages.ui import cached, glossary_box, layout, url_state, walk_numbers
from pages.ui.pictures import walk as picture
from pages.ui.pictures.component import Pick
from sds_core.errors import SDSError
from sds_core.lesson.evidence import Evidence
from sds_core.lesson.questions import STEPS
from sds_core.runs.run_folder import Run

VOTER = re.compile("[0-9a-f]{8}")


@st.cache_data(show_spinner=False)
def answered(number: int) -> picture.Step:
    """A question with the numbers of its answer.

    Raises:
        SDSError: an example is broken.
    """
    step = STEPS[number - 1]
    runs = {name: Run(FOLDER / "walk" / name) for name in step.runs}
    return walk_numbers.step(
        number, step.find(Evidence(runs, {name: cached.record(run) for name, run in runs.items()}))
    )


def voter() -> str:
    """The name that this session votes under; in the address, so that a page loaded anew is no second voter."""
    asked = st.query_params.get("me", "")
    return st.session_state.setdefault("voter", asked if VOTER.fullmatch(asked) else secrets.token_hex(4))


def picked(pick: Pick) -> None:
    """Write the pick into the address, and count a guess that was made before its answer was shown."""
    st.query_params.update({"step": str(pick["step"]), "guess": str(pick["guess"]), "shown": str(int(pick["shown"]))})
    number = url_state.whole("step", 1, len(STEPS), 1)
    known = walk_numbers.view(number, st.query_params["guess"], st.query_params["shown"])
    seen: set[int] = st.session_state.setdefault("seen", set())
    if known.guess and number not in seen:
        st.query_params["me"] = voter()
        BALLOT.vote(voter(), number, known.guess)
    if known.shown:
        seen.add(number)


def page() -> None:
    """One step."""
    url_state.remember("walk address", ("step", "guess", "shown", "me"))
    number = url_state.whole("step", 1, len(STEPS), 1)
    view = walk_numbers.view(number, st.query_params.get("guess", ""), st.query_params.get("shown", ""))
    if view.shown:  # an answer that was in the address, too, is known
        st.session_state.setdefault("seen", set()).add(number)
    glossary_box.in_bar(*STEPS[number - 1].terms)
    found = None
    try:
        found = answered(number)
    except SDSError as error:
        layout.refuse(error)
    numbers = picture.Walk(view, walk_numbers.titles(), found, layout.presenting())
    picture.mount(numbers, key="walk", on_pick=picked)


layout.compact("Why prune, fill in, and prune again?")
page()
