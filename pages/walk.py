"""Walk: eight questions, from why to prune to what is really better, one after the other."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import streamlit as st

from pages.ui import cached, glossary_box, layout, url_state
from sds_core.errors import SDSError
from sds_core.lesson.classroom import current

if TYPE_CHECKING:
    from pages.ui.pictures import walk as picture
    from pages.ui.pictures.component import Pick
    from sds_core.lesson.classroom import Classroom
    from sds_core.lesson.evidence import Evidence
    from sds_core.lesson.questions import Step

layout.routed()

STYLE = """<style>
.st-key-notes { border-top: 1px solid rgb(128 128 128 / 30%); padding-top: 8px; }
.st-key-notes p { font-size: 14px; line-height: 20px; }
@media (min-width: 901px) {
  [data-testid=stMainBlockContainer]:has(.st-key-notes) { --notes: 104px; }
  :has(> .st-key-notes) { position: absolute; }
  .st-key-notes { position: fixed; bottom: 12px; left: 520px; right: 20px; width: auto; height: 92px; overflow: auto; }
}
</style>"""


def evidence(*names: str) -> Evidence:
    """The examples of these names with their layer statistics.

    Raises:
        SDSError: one is missing or broken.
    """
    from sds_core.lesson.evidence import Evidence
    from sds_core.lesson.example_runs import open_runs

    runs = open_runs(*names)
    return Evidence(runs, {name: cached.record(run) for name, run in runs.items()})


@st.cache_data(max_entries=32, show_spinner=False)
def answered(number: int, folder: str, stamp: tuple) -> picture.Step:
    """A question with the numbers of its answer, from the examples as they are.

    Raises:
        SDSError: one is missing or broken.
    """
    from pages.ui import walk_numbers
    from sds_core.lesson.questions import STEPS

    step = STEPS[number - 1]
    return walk_numbers.step(number, step.find(evidence(*step.runs)))


def picked(pick: Pick) -> None:
    """Write the step, the guess and whether the answer is shown into the address."""
    st.query_params.update({"step": str(pick["step"]), "guess": str(pick["guess"]), "shown": str(int(pick["shown"]))})


def aside(step: Step, notes: bool, last: bool) -> None:
    """Show, beside the navigation, the glossary, the switch of the teacher's notes, and finally the hand-out."""
    from sds_core.reports.handout import handout

    st.session_state["walk-notes"] = notes

    def switch_notes() -> None:
        st.query_params["notes"] = str(int(st.session_state["walk-notes"]))

    with st.container(horizontal=True, vertical_alignment="center", key="aside"):
        if last:
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
        st.toggle("Teacher’s notes", key="walk-notes", on_change=switch_notes)
        glossary_box.popover(*step.terms)


def teach(step: Step) -> None:
    """Show the teacher's notes on the step."""
    with st.container(key="notes"):
        st.markdown(
            f"**For the teacher, {step.notes.minutes} minutes.** Ask: {step.notes.ask} "
            f"A common mistake: {step.notes.mistaken}"
        )


@st.fragment(run_every=1)
def voted(numbers: picture.Walk, classroom: Classroom) -> None:
    """The picture with the guesses of the class, as they come in."""
    from pages.ui import walk_numbers
    from pages.ui.pictures import walk as picture

    number = numbers.view.step
    if st.query_params.get("step", "1") != str(number):  # a pick runs this part alone
        st.rerun()
    view = walk_numbers.view(number, st.query_params.get("guess", ""), st.query_params.get("shown", ""))
    votes = classroom.votes.of(number)
    picture.mount(dataclasses.replace(numbers, view=view, votes=votes), key="walk", on_pick=picked)


def page() -> None:
    """One step."""
    from pages.ui import walk_numbers
    from pages.ui.pictures import walk as picture
    from sds_core.lesson.questions import STEPS
    from sds_core.runs import examples

    url_state.remember("walk address", ("step", "guess", "shown"))
    number = url_state.whole("step", 1, len(STEPS), 1)
    st.query_params["step"] = str(number)
    notes = url_state.choice("notes", ("0", "1"), "0") == "1"
    view = walk_numbers.view(number, st.query_params.get("guess", ""), st.query_params.get("shown", ""))
    if not layout.presenting():
        aside(STEPS[number - 1], notes, number == len(STEPS))
    found = None
    try:
        with st.spinner("Opening the finished runs …"):
            packed = sorted(examples.FOLDER.glob("*.zip"))
            stamp = tuple((path.name, path.stat().st_mtime_ns) for path in packed)
            found = answered(number, str(examples.FOLDER), stamp)
    except SDSError as error:
        layout.refuse(error)
    numbers = picture.Walk(view, walk_numbers.titles(), found, layout.presenting())
    if classroom := current():
        voted(numbers, classroom)
    else:
        picture.mount(numbers, key="walk", on_pick=picked)
    if notes:
        teach(STEPS[number - 1])


layout.compact("Why prune, fill in, and prune again?")
st.html(STYLE + glossary_box.BAR)
with st.spinner("Loading the engine …"):  # pandas and torch take seconds the first time: the navigation need not wait
    import sds_core.lesson.questions  # noqa: F401
page()
