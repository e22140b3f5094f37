"""A run's state and progress, read from its files: the same after a refresh, in a second tab, on a new server."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

import streamlit as st

from pages.ui import layout
from sds_core.errors import SDSError
from sds_core.runs.job_folder import LIVE
from sds_core.runs.progress import progress

if TYPE_CHECKING:
    from sds_core.options import Overrides
    from sds_core.runs.event_log import EventLog
    from sds_core.runs.job_folder import JobFolder
    from sds_core.runs.run_folder import Run

Colour = Literal["gray", "orange", "blue", "green", "red", "violet", "yellow"]
STATES: dict[str, tuple[Colour, str]] = {
    "new": ("gray", ":material/fiber_new:"),
    "queued": ("yellow", ":material/hourglass_top:"),
    "running": ("blue", ":material/play_arrow:"),
    "finished": ("green", ":material/check_circle:"),
    "failed": ("red", ":material/error:"),
    "cancelled": ("gray", ":material/cancel:"),
    "interrupted": ("orange", ":material/power_off:"),
    "broken": ("red", ":material/heart_broken:"),
}


def badge(state: str) -> None:
    """Show a state in its colour, with its icon."""
    colour, icon = STATES[state]
    st.badge(state, icon=icon, color=colour)


def follow(run: Run, state: str) -> None:
    """Show a run's progress, polled while it is live; redraw the page when its state changes."""
    live = state in LIVE

    @st.fragment(run_every=0.5 if live else None)
    def poll() -> None:
        try:
            log = _log(run)
            now, events = run.state(log), log.read()
        except SDSError as error:
            layout.refuse(error)
            return
        if live and now != state:
            st.rerun()
        status = progress(events, run.config.phases)
        for phase in status.phases:
            st.progress(phase.done / phase.of if phase.of else 0.0, text=phase.line(live))
        if live:
            asked = "Cancelling after the present block …"
            cancellable(run, asked if run.cancel_requested else layout.plain(status.activity))

    poll()


def explain(run: Run, state: str, changes: Overrides) -> None:
    """Say why a run is not running, and offer to resume it.

    Args:
        run: the run.
        state: of it.
        changes: the working options to resume it with, where they are not its own.
    """
    match state:
        case "new":
            st.info("This run was created but never started.", icon=STATES[state][1])
        case "failed":
            layout.refuse(progress(run.log.read()).message)
        case "cancelled":
            st.info("Cancelled. Finished blocks are kept; the run resumes from there.", icon=STATES[state][1])
        case "interrupted":
            st.warning(
                "The process that worked on this run is gone. Finished blocks are kept; the run resumes from there. "
                "If nobody ended it, memory probably ran out: close other programs, or leave weights on disk.",
                icon=STATES[state][1],
            )
    label = "Start this run" if state == "new" else "Resume"
    st.button(label, key="resume", icon=":material/resume:", type="primary", on_click=start, args=(run, changes))


def start(run: Run, changes: Overrides) -> None:
    """Launch a worker for the run; a refusal is shown on the page."""
    from sds_core.runs.launch_phases import reconfigure
    from sds_core.runs.worker import launch

    try:
        if changes:
            reconfigure(run, changes)
        launch([run], stay=True)
    except SDSError as error:
        st.session_state["refused"] = str(error)


def _log(run: Run) -> EventLog:
    """Return the log of the run on the page; it is kept, so that each poll reads only new events."""
    log = st.session_state.get("log")
    if log is None or log.path != run.log.path:
        log = st.session_state["log"] = run.log
    return log


def cancellable(place: JobFolder, text: str) -> None:
    """Show what a job is doing, beside the button that cancels it."""
    with st.container(horizontal=True, vertical_alignment="center"):
        asked = place.cancel_requested
        click = partial(_cancel, place)
        st.button("Cancel", key="cancel", icon=":material/stop_circle:", on_click=click, disabled=asked)
        st.markdown(text)
    if refused := st.session_state.pop("refused", None):
        layout.refuse(refused)


def _cancel(place: JobFolder) -> None:
    """Ask a job to stop; a refusal is shown below it."""
    try:
        place.cancel()
    except SDSError as error:
        st.session_state["refused"] = str(error)
