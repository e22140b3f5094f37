"""The numbers of Start's moving picture, from the packed examples as they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import streamlit as st

from pages.ui.pictures import start
from pages.ui.pictures.measured import Change, Perplexity
from pages.ui.pictures.wire import pack_curve
from sds_core.lesson import opening
from sds_core.lesson.curves import HIGH, LOW
from sds_core.lesson.opening import BLOCK, LINEAR, Opening, read_opening
from sds_core.pruning.perplexity import compare
from sds_core.pruning.stages import STAGE_NAMES, LayerStage

MODEL = "SmolLM2 135M"
DOES: dict[LayerStage, str] = {
    "dense": "as trained: most weights are small",
    "sparse": "pruned: two of every four weights become zero",
    "redense": "filled in: every weight may move, the zeros come back",
    "final": "pruned again: as many zeros, but the others have adapted",
}
NOT_MEASURED = "Each block went through all phases before the next: there never was a whole model at this stage."


def numbers(present: bool) -> start.Start | None:
    """Return them; None where there is no such example.

    Raises:
        SDSError: an example is broken.
    """
    packed = sorted(opening.FOLDER.glob("*.zip"))
    found = _read(str(opening.FOLDER), tuple((path.name, path.stat().st_mtime_ns) for path in packed))
    return found and replace(found, present=present)


@st.cache_data(max_entries=2, show_spinner=False)
def _read(folder: str, stamp: tuple) -> start.Start | None:
    found = read_opening(Path(folder))
    if found is None:
        return None
    return start.Start(
        layer=f"{MODEL} · block {BLOCK} · {LINEAR.rpartition('.')[2]}",
        low=LOW,
        high=HIGH,
        stages=tuple(_stage(found, stage) for stage in DOES),
    )


def _stage(found: Opening, stage: LayerStage) -> start.Stage:
    layer, measured = found.layers[stage], found.perplexity.get(stage)
    shown = change = None
    if measured:
        paired = measured.against_dense
        shown = Perplexity(measured.value, *(() if stage == "dense" else (paired.ratio, paired.ratio * paired.error)))
        if stage == "final" and (sparse := found.perplexity.get("sparse")):
            gain = compare(measured.perplexity, sparse.perplexity)
            change = Change(gain.ratio - 1, gain.ratio * gain.error, STAGE_NAMES["sparse"])
    return start.Stage(
        stage=stage,
        does=DOES[stage],
        curve=pack_curve(layer.curve),
        zeros=layer.zeros,
        perplexity=shown,
        change=change,
        why=None if measured else NOT_MEASURED,
    )
