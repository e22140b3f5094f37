"""The teacher's experiments, read-only."""

from __future__ import annotations

import streamlit as st

from pages.ui import layout, studio_board, studio_details
from sds_core.errors import SDSError
from sds_core.runs.experiment import Experiment, experiments

CHOICE = 50
"""Height of the line with the choice, with the gap below it."""
POLL = 3.0
"""Seconds between two looks at an experiment that is being worked on: thirty look at once."""


def choose(known: list[Experiment]) -> Experiment:
    """Return the experiment in the address, else the newest, in a box."""
    names = [one.name for one in known]
    asked = st.query_params.get("experiment", names[0])
    if asked not in names:
        layout.refuse(f"There is no experiment “{asked[:60]}” here.")
        asked = names[0]
    st.session_state["experiment"] = st.query_params["experiment"] = asked

    def turn() -> None:
        st.query_params.from_dict(layout.onward({"experiment": st.session_state["experiment"]}))

    st.selectbox("Experiment", names, key="experiment", on_change=turn, label_visibility="collapsed", width=260)
    return known[names.index(asked)]


@st.cache_data(ttl=POLL, show_spinner=False)
def shown() -> list[tuple[str, list[tuple[str, str]]]]:
    """Return the experiments with the states of their runs: for a few seconds the same for every visitor."""
    return [(one.name, [(run.id, run.state()) for run, _ in one.members]) for one in experiments()]


@st.fragment(run_every=POLL)
def look_again(seen: list[tuple[str, list[tuple[str, str]]]]) -> None:
    """Draw the page anew once the teacher has started, finished or shown a run."""
    if shown() != seen:
        st.rerun()


def page() -> None:
    """The box and the picture."""
    look_again(shown())
    known = [one for one in experiments() if one.variants]
    if not known:
        st.info("The teacher shows no experiment at the moment.", icon=":material/info:")
        return
    experiment = choose(known)
    if studio_details.asked_for():
        studio_details.show(experiment, experiment.variants)
    studio_board.show(experiment, experiment.variants, bool(experiment.live()), poll=POLL)


layout.compact("Studio", above=CHOICE)
studio_board.words()
try:
    page()
except SDSError as error:
    layout.refuse(error)
