"""The Studio's buttons: the next phase of all ticked variants, all phases, cancel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from pages.ui import outlook, studio_options
from sds_core.errors import SDSError

if TYPE_CHECKING:
    from pages.ui.studio_choice import Choice
    from sds_core.pruning.registry import PrunerRegistry
    from sds_core.runs.experiment import Experiment
    from sds_core.runs.variant import Variant

LABELS = {1: "Prune", 2: "Re-dense", 3: "Prune again", 4: "Distil"}
"""The button of each phase."""


def working(experiment: Experiment) -> bool:
    """Return whether a worker is busy with the experiment, between two phases too."""
    from sds_core.runs.launch_phases import at_work

    return bool(experiment.live()) or at_work(experiment.name)


def buttons(experiment: Experiment, choice: Choice, pruners: PrunerRegistry, busy: bool, blocked: bool) -> None:
    """Show the buttons for the next phase and for all, or for cancelling while a worker is busy.

    Args:
        experiment: the experiment.
        choice: the variants to run.
        pruners: the available pruners.
        busy: whether a worker is running.
        blocked: whether the model cannot be pruned, for a reason that the page gives.
    """
    from sds_core.runs.launch_phases import cancelled

    variants = choice.variants
    if busy:
        asked = cancelled(experiment)
        label = "Cancelling after this block …" if asked else "Cancel"
        st.button(
            label,
            key="cancel-phase",
            icon=":material/stop_circle:",
            on_click=_cancel,
            args=(experiment,),
            disabled=asked,
        )
        return
    phase = experiment.next_phase(variants)
    st.button(
        LABELS[phase] if phase else "All phases done",
        key="phase",
        type="primary",
        disabled=phase is None or blocked,
        on_click=begin,
        args=(experiment, variants, pruners, False),
        help=None if phase is None else _help(experiment, choice, phase),
    )
    last = max(one.phase_numbers[-1] for one in variants)
    if phase and phase < last:
        st.button(
            "Run all",
            key="all-phases",
            disabled=blocked,
            on_click=begin,
            args=(experiment, variants, pruners, True),
            help=f"Phases {phase} to {last}, one after the other; finished blocks can be inspected meanwhile.",
        )


def begin(experiment: Experiment, variants: list[Variant], pruners: PrunerRegistry, everything: bool) -> None:
    """Launch the next phase, or all of them; a refusal is shown on the page."""
    from sds_core.runs.launch_phases import launch_all, launch_phase

    try:
        (launch_all if everything else launch_phase)(experiment, variants, pruners)
    except SDSError as error:
        st.session_state["refused"] = str(error)
        return
    st.query_params["experiment"] = st.session_state["studio of"] = experiment.name
    for name in ("run", "stage", "round", "follow"):  # the picture turns to what is worked on
        st.query_params.pop(name, None)


def _cancel(experiment: Experiment) -> None:
    """Stop what a worker does for the experiment; a refusal is shown on the page."""
    from sds_core.runs.launch_phases import cancel

    try:
        cancel(experiment)
    except SDSError as error:
        st.session_state["refused"] = str(error)


def _help(experiment: Experiment, choice: Choice, phase: int) -> str:
    """Return what the button does, and what it takes."""
    from pages.ui.variant_labels import full_title

    todo = [
        one
        for one in choice.variants
        if phase in one.phase_numbers and 0 < (experiment.needed_phase(one) or 0) <= phase
    ]
    names = [full_title(one.base if phase == 1 else one) for one in todo]
    takes = outlook.cost(studio_options.next_runs(experiment, choice))
    last = max(3, *(one.phase_numbers[-1] for one in choice.variants))
    return f"Phase {phase} of {last}: {', '.join(dict.fromkeys(names))}. {takes}"
