"""The Studio's picture on its page: read from an experiment's record, polled while it lives, picks in the address."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from typing import TYPE_CHECKING

import streamlit as st

from pages.ui import cached, glossary_box, layout, studio_details
from pages.ui.model_layers import Model
from pages.ui.pictures import studio
from pages.ui.pictures.component import Pick
from pages.ui.studio_numbers import Reader
from sds_core.errors import SDSError
from sds_core.runs.job_folder import LIVE

if TYPE_CHECKING:
    from sds_core.runs.experiment import Experiment
    from sds_core.runs.experiment_record import ExperimentRecord
    from sds_core.runs.layer_numbers import LayerNumbers
    from sds_core.runs.variant import Variant

    DenseLayers = Mapping[tuple[int, str], LayerNumbers]

KEY = "studio"
OPENING = "studio opens details"
"""Session key, set when the details are requested in the picture: a dialog is opened by the page, not by a fragment."""


def words() -> None:
    """Show the glossary of the picture beside the navigation."""
    glossary_box.in_bar(
        "block",
        "perplexity",
        "standard error",
        "output error",
        "σ",
        "near zero",
        "Wanda",
        "SparseGPT",
        "SDS",
        "memory",
        "round",
        "mask changed",
    )


def show(
    experiment: Experiment, variants: list[Variant], busy: bool, dense: DenseLayers | None = None, poll: float = 0.5
) -> None:
    """Draw the picture.

    Args:
        experiment: what is shown.
        variants: those of it that are ticked.
        busy: whether a worker was busy with it when the page was drawn; then it is polled.
        dense: layers of the dense model, to be drawn where no run has recorded them yet.
        poll: seconds between two looks.

    Raises:
        SDSError: a record is broken.
    """
    known = dense or {}
    record = cached.experiment_record(experiment, variants)
    states = record.states
    reported = record.failure
    if reported:
        layout.refuse(reported)

    looks = count()

    @st.fragment(run_every=poll if busy else None)
    def board() -> None:
        try:
            record.refresh()
        except SDSError as error:
            layout.refuse(error)
            return
        if busy and next(looks) and _changed(experiment, record, states):  # the first look belongs to the page
            st.rerun()
        linears = record.linears or list(dict.fromkeys(linear for _, linear in known))
        model = Model(record.blocks or 1 + max((block for block, _ in known), default=-1), tuple(linears))
        if not model.blocks or not model.linears:
            doing = record.working.progress().activity if record.working else "No block of this experiment is done yet."
            st.caption(layout.plain(doing))
            return
        reader = Reader(record, model, lambda block, linear: known.get((block, linear)))
        if st.session_state.pop(OPENING, False):
            st.rerun()
        numbers = reader.numbers(st.query_params, present=layout.presenting())
        if record.fault and record.fault != reported:
            layout.refuse(record.fault)
        studio.mount(
            numbers,
            key=KEY,
            on_pick=lambda pick: picked(pick, model),
            on_details=lambda view: details_asked_for(view, model),
        )

    board()


def details_asked_for(view: Pick, model: Model) -> None:
    """Write it into the address."""
    picked(view, model)
    st.query_params[studio_details.ASKED] = "1"
    st.session_state[OPENING] = True


def _changed(experiment: Experiment, record: ExperimentRecord, before: list) -> bool:
    """Whether a run has ended since the page was drawn, or the worker is between two phases."""
    ended = any(old in LIVE and new not in LIVE for old, new in zip(before, record.states, strict=True))
    return ended or not (any(state in LIVE for state in record.states) or experiment.live())


def picked(pick: Pick, model: Model) -> None:
    """Write the pick into the address; unknown values are ignored when it is read."""
    if layer := model.address(pick["at"]):
        st.query_params["layer"] = layer
    named = {"run": "run", "stage": "stage", "quantity": "show", "round": "round"}
    st.query_params.update({name: str(pick[key]) for key, name in named.items()})
    st.query_params["follow"] = str(int(bool(pick["follow"])))
