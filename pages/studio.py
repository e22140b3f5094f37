"""Studio: an experiment on one screen: choose, run phase by phase, see a layer's weights beside the perplexities."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import streamlit as st

from pages.ui import layout, outlook, own_text, studio_choice, studio_details, studio_options, studio_runs, studio_steps
from sds_core.errors import SDSError
from sds_core.models.gguf_files import DEMO

if TYPE_CHECKING:
    from sds_core.pruning.registry import PrunerRegistry
    from sds_core.runs.config import RunConfig
    from sds_core.runs.experiment import Experiment
    from sds_core.runs.variant import Variant

layout.routed()

STYLE = """<style>
.st-key-choice p { font-size: 14px; }
body:has(:is(.st-key-option-model, .st-key-option-calibration, .st-key-option-evaluation):focus-within)
  [data-testid=stSelectboxVirtualDropdown] { min-width: 440px; }
.st-key-choice [data-variant=pills], .st-key-choice [data-variant=pills] p { color: inherit !important; }
</style>"""
CHOICE, WELCOME = 50, 48
"""Height of the line of choices, and of the line that offers the examples, each with the gap below it."""


def begin(experiment: Experiment, choice: studio_choice.Choice, known: bool) -> None:
    """Show the cost of the first phase, and, where there is no experiment at all, the examples to look at first."""
    layout.room_above(CHOICE + WELCOME)
    takes = outlook.cost(studio_options.next_runs(experiment, choice))
    with st.container(horizontal=True, vertical_alignment="center", key="welcome"):
        said = layout.plain(f"begins phase 1 on {outlook.device(choice.settings.device)}. {takes}")
        st.markdown(f"**Prune** {said}", width="content")
        if not known:
            offer_examples()
    own_text.offer_another(choice.settings)


def offer_examples() -> None:
    """The button that shows finished experiments."""
    from sds_core.runs.examples import EXPERIMENT, unpack_all

    if st.button("Show the examples", key="examples", icon=":material/inventory_2:"):
        try:
            unpack_all()
        except SDSError as error:
            layout.refuse(error)
        else:
            st.query_params["experiment"] = EXPERIMENT
            st.rerun()


def ways_out(settings: RunConfig) -> None:
    """Offer what can be pruned where the choice cannot."""
    if outlook.device_fault(settings):
        st.caption("Choose a device of this machine under Options, or go on with:")
        take = partial(st.session_state.update, {studio_choice.DEVICE: "auto"})
        st.button("The device of this machine", key="take-device", on_click=take)
        return
    st.caption(
        "Nothing is known of this choice, so there is nothing to show. Choose another model above, or go on with:"
    )
    with st.container(horizontal=True):
        if not outlook.checked_model(settings.model)[1]:
            own_text.offer_docs(["calibration"])
        take = partial(st.session_state.update, {studio_choice.MODEL: DEMO})
        st.button("The demo model", key="take-demo", on_click=take)


def board(experiment: Experiment, variants: list[Variant], busy: bool) -> None:
    """The picture; polled while a worker is busy with the experiment."""
    from pages.ui import studio_board
    from sds_core.runs.dense_layers import dense_layers
    from sds_core.runs.launch_phases import stopped

    studio_board.words()
    if not busy and experiment.members and experiment.next_phase(variants) and (why := stopped(experiment.name)):
        layout.refuse(f"“Run all” ended between two phases: {why}")
    try:
        dense = dense_layers() if experiment.settings.model == DEMO else None
        studio_board.show(experiment, variants, busy, dense)
    except SDSError as error:
        layout.refuse(error)


def page(pruners: PrunerRegistry) -> None:
    """Choices, buttons and the picture."""
    from sds_core.runs.experiment import experiments, with_settings

    known, experiment, busy, fault = experiments(), None, False, ""
    opened = studio_choice.opened(known)
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="choice"):
        chosen = studio_choice.choose(opened, pruners)
        st.space("stretch")
        if chosen:
            experiment = with_settings(chosen.settings, opened.name if opened else "")
            busy = studio_steps.working(experiment)  # asked once: buttons and picture must agree
            if experiment.next_phase(chosen.variants):
                fault = outlook.fault(chosen.settings)
        # Where buttons come and go among its neighbours, a popover loses its place, and closes.
        with st.container(horizontal=True, width="content", gap="small", key="steps"):
            if chosen and experiment:
                studio_steps.buttons(experiment, chosen, pruners, busy, bool(fault))
        studio_options.show(chosen, experiment)
        about = "Every experiment and run: state, resume, note, record as a file, delete, import."
        st.button("Runs", key="runs", on_click=studio_runs.open_on, args=("all",), help=about)
    if studio_runs.asked_for():
        studio_runs.show(known, experiment)
    elif studio_details.asked_for():
        studio_details.show(experiment, chosen.variants if chosen else [])
    if refused := st.session_state.pop("refused", None) or fault:
        layout.refuse(refused)
    if experiment is None or chosen is None:
        if opened and opened.variants:  # a checkpoint that was pruned elsewhere has no base pruner to tick
            board(opened, opened.variants, studio_steps.working(opened))
        return
    if experiment.members:
        st.query_params["experiment"] = st.session_state["studio of"] = experiment.name
        board(experiment, chosen.variants, busy)
    else:
        if fault:
            ways_out(chosen.settings)
        else:
            begin(experiment, chosen, bool(known))
        if chosen.settings.model == DEMO:
            board(experiment, chosen.variants, busy)
        elif not fault:
            st.caption("Its weights appear here block by block, dense and pruned, as phase 1 goes through the model.")


layout.compact("Studio", above=CHOICE)
st.html(STYLE)
with st.spinner("Loading the engine …"):
    registry = layout.load_pruners()
page(registry)
