"""Walk: from why one prunes to whether it is really better, one question after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import streamlit as st

from pages.ui import cached, charts, glossary_box, layout, url_state
from sds_core.errors import SDSError

if TYPE_CHECKING:
    from sds_core.lesson.findings import Evidence, Finding
    from sds_core.lesson.questions import Step

layout.routed()


def evidence(*names: str) -> Evidence:
    """The examples of these names with their records.

    Raises:
        SDSError: one is missing or broken.
    """
    from sds_core.lesson.findings import Evidence, open_runs

    runs = open_runs(*names)
    return Evidence(runs, {name: cached.record(run) for name, run in runs.items()})


def choose(steps: int) -> tuple[int, bool]:
    """Number of the step, and whether the teacher's notes are shown: in widgets and in the address."""
    number = url_state.whole("step", 1, steps, 1)
    notes = url_state.choice("notes", ("0", "1"), "0")
    st.session_state["walk-step"], st.session_state["walk-notes"] = number, notes == "1"

    def switch_notes() -> None:
        st.query_params["notes"] = str(int(st.session_state["walk-notes"]))

    with st.container(horizontal=True, vertical_alignment="center"):
        st.segmented_control(
            "Step",
            range(1, steps + 1),
            key="walk-step",
            required=True,
            on_change=url_state.write,
            args=("step", "walk-step"),
            label_visibility="collapsed",
        )
        st.toggle("Teacher’s notes", key="walk-notes", on_change=switch_notes)
    return number, notes == "1"


def ask(number: int, step: Step) -> None:
    """What one needs to know, the question, and, until the answer is known, what can be predicted."""
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
    """For the next class: the question without its answer."""
    st.session_state["walk-revealed"] = st.session_state["walk-revealed"] - {number}
    st.session_state[guess_key(number)] = None


def answer(number: int, step: Step, found: Finding) -> None:
    """What became of the prediction, the picture, and why."""
    guess = st.session_state.get(guess_key(number))
    verdict = "You were right. " if guess == found.right else ""
    said = "" if guess is None or verdict else f" You said: {step.options[guess]}."
    st.markdown(f"**{verdict}{step.options[found.right]}.** {found.said}{said}")
    charts.show(found.figure, f"walk-{number}", found.alt)
    st.caption(found.caption)
    st.info(step.why, icon=":material/lightbulb:")


def teach(step: Step) -> None:
    """Notes on the step."""
    with st.container(border=True):
        st.markdown(
            f"**For the teacher, {step.notes.minutes} minutes.** Ask: {step.notes.ask}\n\n"
            f"Often mistaken: {step.notes.mistaken}"
        )


def go_on(number: int, steps: int) -> None:
    """To the next step or back, and to the question again."""
    with st.container(horizontal=True):
        if number > 1:
            turn = {"step": str(number - 1)}
            st.button("Back", key="walk-back", on_click=st.query_params.update, args=(turn,))
        if number < steps:
            turn = {"step": str(number + 1)}
            kind: Literal["primary", "secondary"] = "primary" if revealed(number) else "secondary"
            st.button("Next", key="walk-next", type=kind, on_click=st.query_params.update, args=(turn,))
        if revealed(number):
            st.button("Ask again", key="walk-again", on_click=ask_again, args=(number,))


def printed() -> str:
    """The hand-out; made when it is asked for."""
    from sds_core.reports.handout import handout

    return handout(evidence)


def end() -> None:
    """What to take along, and where to go."""
    st.subheader("To take along", anchor=False)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.download_button(
            "Download the hand-out",
            printed,
            "pruning.html",
            "text/html",
            key="walk-handout",
            icon=":material/download:",
            on_click="ignore",
            help="All eight questions with their answers on one page to print; it needs no internet.",
        )
        st.page_link("pages/micro.py", label="Do it by hand", icon=":material/grid_on:")
        st.page_link("pages/lab.py", label="Play with a real layer", icon=":material/science:")


st.title("Why prune, fill in, and prune again?", anchor=False)
with st.spinner("Loading the engine …"):
    from sds_core.lesson.questions import STEPS

number, notes = choose(len(STEPS))
step = STEPS[number - 1]
if number == 1:
    st.markdown(
        f"{len(STEPS)} questions about a small but real language model. Guess first, then reveal: every answer was "
        "measured, and each needs only the ones before it."
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
go_on(number, len(STEPS))
if number == len(STEPS):
    end()
glossary_box.explain(*step.terms)
