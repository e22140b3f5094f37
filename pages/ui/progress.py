"""A run's state and progress, read from its files: the same after a refresh, in a second tab, on a new server."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import streamlit as st

from pages.ui import layout
from sds_core.errors import SDSError
from sds_core.figures.style import STAGE_NAMES

if TYPE_CHECKING:
    from sds_core.runs.job_folder import JobFolder
    from sds_core.runs.run_folder import Run

Event = dict[str, Any]
Colour = Literal["gray", "orange", "blue", "green", "red", "violet", "yellow"]
LIVE = ("queued", "running")
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
PHASES = {
    "fused": "All phases, block after block",
    "sparse": f"Phase 1, {STAGE_NAMES['sparse']}",
    "redense": f"Phase 2, {STAGE_NAMES['redense']}",
    "final": f"Phase 3, {STAGE_NAMES['final']}",
}


@dataclass(frozen=True)
class PhaseProgress:
    """How far one phase over the blocks has come."""

    phase: str
    done: int
    """Finished blocks."""
    of: int
    """All blocks; 0 while that is not known."""
    left: float | None
    """Seconds left, by the median of the last blocks; None before there is one."""


def phases(phases: list, events: list[Event]) -> list[PhaseProgress]:
    """How far a run's walks have come, by its log."""
    of = next((event["blocks"] for event in reversed(events) if event["kind"] == "model"), 0)
    found = []
    for phase in phases:
        blocks = {e["block"]: e["seconds"] for e in events if e["kind"] == "block" and e["phase"] == phase}
        pace = statistics.median(list(blocks.values())[-9:]) if blocks else None
        found.append(PhaseProgress(phase, len(blocks), of, None if pace is None else pace * (of - len(blocks))))
    return found


def badge(state: str) -> None:
    """A state in its colour, with its own sign."""
    colour, icon = STATES[state]
    st.badge(state, icon=icon, color=colour)


def follow(run: Run, state: str) -> None:
    """Progress of a run, polled while it lives; the page is drawn anew when its state changes."""
    live = state in LIVE

    @st.fragment(run_every=0.5 if live else None)
    def progress() -> None:
        try:
            events = _tail(run).read()
            now = run.state(events)
        except SDSError as error:
            layout.refuse(error)
            return
        if live and now != state:
            st.rerun()
        _bars(run, events, live)
        if live:
            _now(run, now, events)

    progress()


def explain(run: Run, state: str) -> None:
    """Why a run stands still, and the button that goes on with it."""
    last = next((event for event in reversed(run.log.read()) if "message" in event), {"message": ""})
    match state:
        case "new":
            st.info("This run was made but never started.", icon=STATES[state][1])
        case "failed":
            layout.refuse(last["message"])
        case "cancelled":
            st.info("Cancelled. Finished blocks are kept; the run goes on from there.", icon=STATES[state][1])
        case "interrupted":
            st.warning(
                "The process that worked on this run is gone. Finished blocks are kept; the run goes on from there.",
                icon=STATES[state][1],
            )
    label = "Start this run" if state == "new" else "Resume"
    st.button(label, key="resume", icon=":material/resume:", type="primary", on_click=start, args=(run,))


def start(run: Run) -> None:
    """Give the run a worker; a refusal is shown on the page."""
    from sds_core.runs.worker import launch

    try:
        launch([run])
    except SDSError as error:
        st.session_state["refused"] = str(error)


def _tail(run: Run) -> Any:
    """The reader of this run's log; one is kept, that of the run on the page."""
    from sds_core.runs.files import Tail

    path = run.folder / "events.jsonl"
    tail = st.session_state.get("tail")
    if tail is None or tail.path != path:
        tail = st.session_state["tail"] = Tail(path)
    return tail


def _bars(run: Run, events: list[Event], live: bool) -> None:
    for phase in phases(run.config.phases, events):
        text = f"{PHASES[phase.phase]}: block {phase.done} of {phase.of or '…'}"
        if live and phase.left is not None and phase.done < phase.of:
            text += f", {_duration(phase.left)} left"
        st.progress(phase.done / phase.of if phase.of else 0.0, text=text)


def _now(run: Run, state: str, events: list[Event]) -> None:
    """What is being done at this moment, and the button that stops it."""
    last: Event = events[-1] if events else {"kind": ""}
    match last["kind"]:
        case "queued":
            text = f"Waiting behind `{last['behind']}`, which uses the same device."
        case "measuring" if last["stage"] == "outliers":
            text = f"Counting the dense model’s outliers: block {last['block'] + 1} of {last['of']}."
        case "measuring":
            name = STAGE_NAMES[last["stage"]]
            text = f"Measuring the {name} model’s perplexity: block {last['block'] + 1} of {last['of']}."
        case "phase" | "block":
            text = "Pruning."
        case _:
            text = "Loading the model and its texts."
    cancellable(run, "Cancelling after the present block …" if run.cancel_requested else text)


def cancellable(place: JobFolder, text: str) -> None:
    """What is going on in a folder that is worked in, beside the button that cancels it."""
    with st.container(horizontal=True, vertical_alignment="center"):
        asked = place.cancel_requested
        st.button("Cancel", key="cancel", icon=":material/stop_circle:", on_click=place.cancel, disabled=asked)
        st.markdown(text)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"about {max(round(seconds), 1)} s"
    return f"about {seconds / 60:.0f} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"
