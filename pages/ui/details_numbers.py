"""The numbers of a layer's details, from the records of runs and what is chosen in the address."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pages.ui.model_layers import Model, cell, round_number
from pages.ui.pictures import details
from pages.ui.pictures.wire import Packed, pack_codes, pack_steps, pack_values
from sds_core.errors import SDSError
from sds_core.figures.error_map import EXPERT
from sds_core.lesson.glossary import GLOSSARY
from sds_core.pruning.bins import JOINT, SPAN
from sds_core.pruning.pattern import NM, Pattern
from sds_core.pruning.stages import STAGE_NAMES
from sds_core.runs.layer_details import FEW, LayerDetails, LayerRecord, dense_cells, gone, read_layer
from sds_core.runs.layer_numbers import HIGH, LOW, LayerNumbers

if TYPE_CHECKING:
    from sds_core.runs.run_record import RunRecord

STAGES: tuple[details.Stage, ...] = ("dense", "sparse", "redense", "final")
SHOWN = slice(11, 53)
"""Cells of the joint density that are drawn, about ±4 dense standard deviations."""
CELL = 2 * SPAN / JOINT
"""Width of a cell in dense standard deviations."""
Layers = Mapping[details.Stage, LayerNumbers]
Whole = Mapping[details.Stage, LayerDetails]
NO_CORNER = "This record has no masks."


@dataclass(frozen=True)
class Source:
    """A run, or a variant of an experiment, that can be shown."""

    name: details.RunName
    pattern: Pattern
    stages: dict[details.Stage, RunRecord]
    """The run that recorded each stage."""

    def layers(self, block: int, linear: str) -> dict[details.Stage, LayerNumbers]:
        """Return what is recorded of a layer, by stage.

        Raises:
            SDSError: nothing is recorded because a file is broken.
        """
        found = {stage: record.layer(block, linear, stage) for stage, record in self.stages.items()}
        known = {stage: layer for stage in STAGES if (layer := found.get(stage)) is not None}
        if not known and (fault := next((one.fault for one in self.stages.values() if one.fault), "")):
            raise SDSError(fault)
        return known

    def other_experts(self, block: int, linear: str) -> dict[details.Stage, float]:
        """Return the share of tokens that a layer's router sends elsewhere, by stage; none if it is no expert's."""
        if not EXPERT.search(linear):
            return {}
        measured = {stage: record.perplexity(stage) for stage, record in self.stages.items()}
        routes = {stage: one.routes.of_block(block) for stage, one in measured.items() if one and one.routes}
        return {stage: share for stage, share in routes.items() if share is not None}

    def record(self, block: int, linear: str) -> LayerRecord:
        """Return the whole record of a layer.

        Raises:
            SDSError: a file is broken.
        """
        found = LayerRecord()
        for record in dict.fromkeys(self.stages.values()):
            found |= read_layer(record.run.folder, block, linear)
        return LayerRecord({stage: found.stages[stage] for stage in STAGES if stage in found.stages}, found.rounds)


class Reader:
    """Turns records into the picture's numbers."""

    def __init__(self, sources: Sequence[Source], model: Model):
        """
        Args:
            sources: one at least, with something recorded.
            model: its layers.
        """
        self.sources, self.model = sources, model

    def source(self, asked: Mapping[str, str]) -> Source:
        """Return what the address asks for, else the last in which something is recorded."""
        asked_for = [one for one in self.sources if one.name.key == asked.get("run")]
        return next(one for one in [*asked_for, *reversed(self.sources)] if one.stages)

    def layer(self, asked: Mapping[str, str]) -> int | None:
        """Return the layer that the address asks for; None if nothing is recorded of it."""
        at = self.model.number(asked.get("layer", ""))
        return at if at is not None and self.source(asked).layers(*self.model.at(at)) else None

    def view(self, asked: Mapping[str, str]) -> details.View:
        """Return what is shown: what the address asks for where that is recorded, else the first layer.

        Raises:
            SDSError: the record of distributions holds none of the layers that the log names.
        """
        source, at = self.source(asked), self.layer(asked)
        if at is None:
            every = range(self.model.blocks * len(self.model.linears))
            at = next((one for one in every if source.layers(*self.model.at(one))), 0)
        stages = list(source.layers(*self.model.at(at)))
        if not stages:
            raise SDSError("distributions and log of this run are of different layers", cure="delete it, or repeat it")
        stage = next((one for one in stages if one == asked.get("stage")), stages[-1])
        corner = "weights" if asked.get("corner") == "weights" else "mask"
        return details.View(source.name.key, at, stage, round_number(asked.get("round", "")), corner)

    def numbers(self, asked: Mapping[str, str], present: bool = False) -> details.Details:
        """Return the picture's numbers.

        Raises:
            SDSError: a file is broken.
        """
        view, source = self.view(asked), self.source(asked)
        block, linear = self.model.at(view.at)
        layers, record = source.layers(block, linear), source.record(block, linear)
        whole = record.stages
        rounds = self._rounds(source, block, linear, record)
        corner = _corner(whole, view.stage, layers[view.stage].mask_changed)
        return details.Details(
            view=view,
            stage=view.stage,
            blocks=self.model.blocks,
            linears=self.model.linears,
            runs=tuple(one.name for one in self.sources if one.stages),
            stages=tuple(layers),
            pattern_says=_pattern_says(source.pattern),
            group=source.pattern.group if isinstance(source.pattern, NM) else None,
            std=next(iter(layers.values())).dense_std,
            low=-SPAN + CELL * SHOWN.start,
            high=-SPAN + CELL * SHOWN.stop,
            side=SHOWN.stop - SHOWN.start,
            curve_low=LOW,
            curve_high=HIGH,
            cells={one: cell(layers[one], self.model.blocks) for one in layers if one in ("dense", view.stage)},
            numbers=tuple(_rows(layers, whole, source.other_experts(block, linear))),
            rounds=rounds,
            density=self._density(source, view, layers, whole),
            corner=corner,
            no_corner=NO_CORNER if corner is None else None,
            no_rounds=None if rounds else _no_rounds(source),
            present=present,
        )

    def _rounds(self, source: Source, block: int, linear: str, record: LayerRecord) -> tuple[details.Round, ...]:
        run = source.stages.get("redense")
        found = []
        for number in run.rounds(block, linear) if run else ():
            assert run is not None
            free, pruned = (
                cell(run.layer(block, linear, stage, number), self.model.blocks) for stage in ("redense", "pruned")
            )
            crop = record.rounds.get(number)
            codes, counts = (None, None) if crop is None else _codes(crop)
            found.append(details.Round(number, free, pruned, codes, counts))
        return tuple(found)

    def _density(self, source: Source, view: details.View, layers: Layers, whole: Whole) -> details.Density | None:
        dense, stage = self._dense_cells(source, view.at, whole), whole.get(view.stage)
        if stage is None or dense is None:
            return None
        joint = np.diag(dense[0]) if view.stage == "dense" else stage.joint
        if joint is None:
            return None
        zeros = stage.zeros / max(stage.total, 1)
        dropped = gone(stage, dense) if zeros > FEW and view.stage != "dense" else None
        return details.Density(
            counts=pack_values(np.rint(joint[SHOWN, SHOWN]).flatten().tolist()),
            gone=None if dropped is None else pack_values(np.rint(dropped[SHOWN]).tolist()),
            total=stage.total,
            zeros=zeros,
            near_zero=layers[view.stage].near_zero,
            stayed=float(np.trace(joint) / max(joint.sum(), 1)),
            cell=round(CELL, 2),
        )

    def _dense_cells(self, chosen: Source, at: int, whole: Whole) -> tuple[np.ndarray, bool] | None:
        """Return the dense weights by cell, exact where any run has recorded them so."""
        found = dense_cells(whole)
        for source in self.sources:
            if found is not None and found[1]:
                break
            if source is not chosen and (other := dense_cells(source.record(*self.model.at(at)).stages)):
                found = other if found is None or other[1] else found
        return found


def _rows(layers: Layers, whole: Whole, other_experts: Mapping[details.Stage, float]) -> list[details.Row]:
    """Return the quantities by stage; those that no stage has are left out."""
    table: list[tuple[str, str, details.Unit, Mapping[details.Stage, float | None]]] = [
        ("zeros", GLOSSARY["sparsity"], "share", {s: one.zeros for s, one in layers.items()}),
        ("near zero", GLOSSARY["near zero"], "share", {s: one.near_zero for s, one in layers.items()}),
        ("spread, σ", GLOSSARY["spread"], "number", {s: whole[s].spread for s in layers if s in whole}),
        ("kurtosis", GLOSSARY["kurtosis"], "number", {s: whole[s].kurtosis for s in layers if s in whole}),
        ("output error", GLOSSARY["output error"], "percent", {s: o.loss for s, o in layers.items() if s != "dense"}),
        ("held-out error", GLOSSARY["held-out error"], "percent", {s: one.held_out for s, one in layers.items()}),
        ("mask changed", GLOSSARY["mask changed"], "percent", {s: one.mask_changed for s, one in layers.items()}),
        ("other experts", GLOSSARY["other experts"], "percent", other_experts),
        ("next prune costs", GLOSSARY["prune energy"], "percent", {s: one.prune_energy for s, one in whole.items()}),
    ]
    rows = []
    for name, about, unit, values in table:
        known = {stage: value for stage in STAGES if (value := values.get(stage)) is not None}
        if known:
            rows.append(details.Row(name, about, unit, known))
    return rows


def _corner(whole: Whole, stage: details.Stage, mask_changed: float | None) -> details.Corner | None:
    """Return the corner's masks; at a stage without a mask, those of the first stage with one."""
    with_mask = [whole[one] for one in (stage, "sparse", "final") if one in whole and whole[one].crop is not None]
    if not with_mask:
        return None
    crop, now = with_mask[0].crop, whole.get(stage)
    assert crop is not None
    weights, step = (None, None) if now is None or now.corner is None else pack_steps(now.corner.flatten().tolist())
    norms = None if now is None or now.norms is None else pack_values(now.norms.tolist())
    codes, counts = _codes(crop)
    rows, columns = crop.shape
    return details.Corner(rows, columns, codes, counts, mask_changed, weights, step, norms)


def _codes(crop: np.ndarray) -> tuple[Packed, details.MaskCounts]:
    flat = crop.flatten()
    return pack_codes(flat.tolist()), details.MaskCounts(*np.bincount(flat, minlength=4).tolist())


def _pattern_says(pattern: Pattern) -> str:
    if isinstance(pattern, NM):
        return f"{pattern}: of {pattern.group} inputs between two lines {pattern.keep} are kept."
    return f"{pattern} of the layer’s weights are pruned."


def _no_rounds(source: Source) -> str:
    if "redense" in source.stages:
        return "No rounds are recorded: the re-dense weights are found in one step."
    return f"There are no rounds: this run has no {STAGE_NAMES['redense']} stage."
