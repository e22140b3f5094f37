"""Walk: from why one prunes to whether it is really better, one question after the other."""

from __future__ import annotations

from typing import Literal

import streamlit as st

from pages.ui import cached, charts, glossary_box, layout, url_state
from sds_core.errors import SDSError

layout.routed()
st.title("Why prune, fill in, and prune again?", anchor=False)
with st.spinner("Loading the engine …"):  # pandas and torch take seconds the first time: the title need not wait
    from sds_core.lesson.evidence import Evidence, open_runs
    from sds_core.lesson.findings import Finding
    from sds_core.lesson.questions import STEPS, Step
    from sds_core.reports.handout import handout


def evidence(*names: str) -> Evidence:
    """The examples of these names with their layer statistics.

    Raises:
        SDSError: one is missing or broken.
    """
    runs = open_runs(*names)
    return Evidence(runs, {name: cached.record(run) for name, run in runs.items()})


def choose() -> tuple[int, bool]:
    """Number of the step, and whether the teacher's notes are shown: in widgets and in the address."""
    number = url_state.whole("step", 1, len(STEPS), 1)
    notes = url_state.choice("notes", ("0", "1"), "0")
    st.session_state["walk-step"], st.session_state["walk-notes"] = number, notes == "1"

    def switch_notes() -> None:
        st.query_params["notes"] = str(int(st.session_state["walk-notes"]))

    with st.container(horizontal=True, vertical_alignment="center"):
        st.segmented_control(
            "Step",
            range(1, len(STEPS) + 1),
            key="walk-step",
            required=True,
            on_change=url_state.write,
            args=("step", "walk-step"),
            label_visibility="collapsed",
        )
        st.toggle("Teacher’s notes", key="walk-notes", on_change=switch_notes)
    return number, notes == "1"


def ask(number: int, step: Step) -> None:
    """The background, the question, and, until the reveal, the options to predict."""
    st.subheader(f"{number} · {step.title}", anchor=False)
    st.markdown(f"{step.before} **{step.question}**")
    if revealed(number):
        return
    guess = st.radio(
        "What do you think?",
        range(len(step.options)),
        index=None,
        key=guess_key(number),
        persist_state="session",
        format_func=step.options.__getitem__,
    )
    label = "Reveal without a guess" if guess is None else "Reveal"
    kind: Literal["primary", "secondary"] = "secondary" if guess is None else "primary"  # the guess is the point
    st.button(label, key="walk-reveal", type=kind, on_click=reveal, args=(number,))


def guess_key(number: int) -> str:
    return f"walk-guess-{number}"


def revealed(number: int) -> bool:
    return number in st.session_state.get("walk-revealed", ())


def reveal(number: int) -> None:
    st.session_state["walk-revealed"] = {*st.session_state.get("walk-revealed", ()), number}


def ask_again(number: int) -> None:
    """Hide the answer and forget the guess, for the next class."""
    st.session_state["walk-revealed"] = st.session_state["walk-revealed"] - {number}
    st.session_state[guess_key(number)] = None


def answer(number: int, step: Step, found: Finding) -> None:
    """Whether the prediction was right, the figure, and why."""
    guess = st.session_state.get(guess_key(number))
    verdict = "You were right. " if guess == found.right else ""
    said = "" if guess is None or verdict else f" You said: {step.options[guess]}."
    st.markdown(f"**{verdict}{step.options[found.right]}.** {found.said}{said}")
    charts.show(found.figure, f"walk-{number}", found.alt)
    st.caption(found.caption)
    st.info(step.why, icon=":material/lightbulb:")


def teach(step: Step) -> None:
    """The teacher's notes on the step."""
    with st.container(border=True):
        st.markdown(
            f"**For the teacher, {step.notes.minutes} minutes.** Ask: {step.notes.ask}\n\n"
            f"A common mistake: {step.notes.mistaken}"
        )


def go_on(number: int) -> None:
    """The buttons to the next step, to the one before, and back to the question."""
    with st.container(horizontal=True):
        if number > 1:
            turn = {"step": str(number - 1)}
            st.button("Back", key="walk-back", on_click=st.query_params.update, args=(turn,))
        if number < len(STEPS):
            turn = {"step": str(number + 1)}
            kind: Literal["primary", "secondary"] = "primary" if revealed(number) else "secondary"
            st.button("Next", key="walk-next", type=kind, on_click=st.query_params.update, args=(turn,))
        if revealed(number):
            st.button("Ask again", key="walk-again", on_click=ask_again, args=(number,))


def end() -> None:
    """The hand-out, and links to go on from here."""
    st.subheader("Take it with you", anchor=False)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.download_button(
            "Download the hand-out",
            lambda: handout(evidence),
            "pruning.html",
            "text/html",
            key="walk-handout",
            icon=":material/download:",
            on_click="ignore",
            help="All eight questions with their answers on one page to print; it needs no internet.",
        )
        st.page_link("pages/micro.py", label="Do it by hand", icon=":material/grid_on:")
        st.page_link("pages/lab.py", label="Play with a real layer", icon=":material/science:")


number, notes = choose()
step = STEPS[number - 1]
if number == 1:
    st.markdown(
        f"{len(STEPS)} questions about a small but real language model. Guess first, then reveal: every answer was "
        "measured, and every question builds on the ones before it."
    )
ask(number, step)
if revealed(number):
    try:
        with st.spinner("Opening the finished runs …"):
            found = step.find(evidence(*step.runs))
    except SDSError as error:
        layout.refuse(error)
    else:
        answer(number, step, found)
if notes:
    teach(step)
go_on(number)
if number == len(STEPS):
    end()
glossary_box.explain(*step.terms)
