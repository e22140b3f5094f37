"""The Studio's picture on its page: read from an experiment's record, polled while it lives, picks in the address."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from pages.ui import layout
from pages.ui.pictures import studio
from pages.ui.pictures.component import Pick
from pages.ui.studio_numbers import PHASES, Model, Reader
from sds_core.errors import SDSError
from sds_core.runs.experiment_record import ExperimentRecord

if TYPE_CHECKING:
    from sds_core.runs.experiment import Experiment, Variant

KEY = "studio"
LIVE = ("queued", "running")
DETAILS = "studio details"
"""Set while the details of the layer in view are asked for."""


def show(experiment: Experiment, variants: list[Variant]) -> None:
    """Draw the picture.

    Raises:
        SDSError: a record is broken.
    """
    record = ExperimentRecord(experiment, variants)
    states = record.states
    if record.failure:
        layout.refuse(record.failure)
    live = any(state in LIVE for state in states)

    @st.fragment(run_every=0.5 if live else None)
    def board() -> None:
        try:
            record.refresh()
        except SDSError as error:
            layout.refuse(error)
            return
        if live and _ended(record, states):
            st.rerun()
        model = Model(record.blocks, tuple(record.linears))
        if not model.blocks or not model.linears:
            st.caption("Loading the model and its texts …" if live else "No block of this experiment is done yet.")
            return
        reader = Reader(record, model, lambda block, linear: None)
        if st.session_state.pop(DETAILS, False):
            open_layer(reader)
        numbers = reader.numbers(st.query_params, present=layout.presenting())
        studio.mount(numbers, key=KEY, on_pick=lambda pick: picked(pick, model), on_details=asked_for_details)

    board()


def asked_for_details(view: Pick) -> None:
    """Remember it until the next drawing: a callback cannot turn to another page."""
    st.session_state[DETAILS] = True


def open_layer(reader: Reader) -> None:
    """Turn to the page with the details of the layer in view."""
    view = reader.view(st.query_params)
    stage = next(one for one in PHASES if one == view.stage)
    record = reader.record.stage(reader.record.variants[reader.keys.index(view.run)], stage).record
    if record is not None:
        block, linear = reader.model.at(view.at)
        st.switch_page("pages/layer.py", query_params={"run": record.run.id, "cell": f"{block}.{linear}"})


def _ended(record: ExperimentRecord, before: list) -> bool:
    """Whether a run has ended since the page was drawn."""
    ended = (old in LIVE and new not in LIVE for old, new in zip(before, record.states, strict=True))
    return any(ended)


def picked(pick: Pick, model: Model) -> None:
    """Write what was picked into the address; what does not exist is left out when it is read."""
    at = pick["at"]
    if isinstance(at, int) and 0 <= at < model.blocks * len(model.linears):
        block, linear = model.at(at)
        st.query_params["layer"] = f"{block}.{linear}"
    named = {"run": "run", "stage": "stage", "quantity": "show", "round": "round"}
    st.query_params.update({name: str(pick[key]) for key, name in named.items()})
    st.query_params["follow"] = str(int(bool(pick["follow"])))
