"""The details of the layer in view, as a dialog of the Studio with an address of its own: `?details=1`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from pages.ui import layout
from pages.ui.model_layers import Model
from pages.ui.pictures import details
from sds_core.errors import SDSError

if TYPE_CHECKING:
    from pages.ui.details_numbers import Reader, Source
    from pages.ui.pictures.component import Pick
    from sds_core.runs.experiment import Experiment
    from sds_core.runs.run_folder import Run
    from sds_core.runs.variant import Variant

ASKED = "details"
"""In the address while the dialog is open, beside `run`, `stage`, `layer` and `round`, which the Studio has too."""
KEY = "details"
STYLE = """<style>
[data-testid=stDialog] > div {
    position: fixed; inset: 6px; width: auto; max-width: none; max-height: none; margin: 0; overflow: auto;
}
[data-testid=stDialog] section > h2 { position: absolute; width: 1px; height: 1px; padding: 0; overflow: hidden; }
[data-testid=stDialog] section > div { padding: 0 18px; }
.st-key-details { --above: 8px; --beside: 30px; }
</style>"""
"""The picture needs the whole window, and says itself which layer it shows: the title is for screen readers."""


def asked_for() -> bool:
    """Return whether the address asks for the details."""
    return st.query_params.get(ASKED) == "1"


def address(run: Run, layer: str = "") -> dict[str, str]:
    """Return the Studio's address of a run's details.

    Args:
        layer: such as 3.mlp.up_proj; empty for the first that is recorded.
    """
    from sds_core.runs.experiment import experiments

    its = (one.name for one in experiments() if any(member == run for member, _ in one.members))
    named = {"experiment": name} if (name := next(its, "")) else {}
    return {**named, "run": run.id, ASKED: "1"} | ({"layer": layer} if layer else {})


def show(experiment: Experiment | None, variants: list[Variant]) -> None:
    """Open the dialog on the layer in the address; a run that the Studio does not show may be named there by its id."""
    try:
        reader = _reader(experiment, variants)
    except SDSError as error:
        layout.refuse(error)
        return

    @st.dialog("Layer details", width="large", on_dismiss=closed)
    def dialog() -> None:
        st.html(STYLE)
        if reader is None:
            st.info("No block is done yet. Close this, and open it again when one is.", icon=":material/info:")
            return
        asked = st.query_params.get("layer")
        try:
            if asked is not None and reader.layer(st.query_params) is None:
                layout.refuse(f"This run has no record of a layer “{asked[:60]}”; here is its first.")
            numbers = reader.numbers(st.query_params, present=layout.presenting())
        except SDSError as error:
            layout.refuse(error)
        else:
            details.mount(numbers, key=KEY, on_pick=lambda pick: picked(pick, reader.model))

    dialog()


def picked(pick: Pick, model: Model) -> None:
    """Write the pick into the address; unknown values are ignored when it is read."""
    if layer := model.address(pick["at"]):
        st.query_params["layer"] = layer
    st.query_params.update({name: str(pick[name]) for name in ("run", "stage", "round", "corner")})


def closed() -> None:
    """Remove the dialog from the address, and the run that only the dialog can show."""
    from sds_core.runs.run_folder import ids

    alone = ("run", "layer") if st.query_params.get("run") in ids() else ()
    for name in (ASKED, "corner", *alone):
        st.query_params.pop(name, None)


def _reader(experiment: Experiment | None, variants: list[Variant]) -> Reader | None:
    """Return the reader of what the address asks for; None where nothing is recorded of it.

    Raises:
        SDSError: a record is broken.
    """
    from pages.ui import details_sources
    from pages.ui.details_numbers import Reader
    from pages.ui.variant_labels import keys
    from sds_core.runs.run_folder import ids, open_run

    asked = st.query_params.get("run", "")
    sources, model = details_sources.of_experiment(experiment, variants)
    if asked in ids() and not _turn_to(asked, sources):
        sources, model = details_sources.of_run(open_run(asked))
    elif asked and st.query_params["run"] not in ([one.name.key for one in sources] or keys(variants)):
        layout.refuse(f"There is no run “{asked[:60]}” here.")
    return Reader(sources, model) if sources else None


def _turn_to(run: str, sources: list[Source]) -> bool:
    """Replace a run's id in the address by the variant that it made a stage of, if one of these is."""
    for source in sources:
        made = [stage for stage, record in source.stages.items() if record.run.id == run]
        if made:
            st.query_params["run"] = source.name.key
            st.query_params.setdefault("stage", made[-1])
            return True
    return False
