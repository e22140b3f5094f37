"""The record of every layer: distributions on fixed edges, statistics, losses, changed masks. Parquet files."""

from collections.abc import Callable, Generator
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sds_core.pruning.bins import CORNER
from sds_core.pruning.distribution import (
    histogram,
    joint_histogram,
    mask_change,
    mask_crop,
    statistics,
    weight_corner,
)
from sds_core.pruning.reading import Reading, number, read_all
from sds_core.pruning.stages import RecordedStage
from sds_core.pruning.wanda import wanda_mask
from sds_core.runs import distribution_files
from sds_core.runs.layer_row import LayerRow

if TYPE_CHECKING:
    import pandas as pd

    from sds_core.layer_result import LayerResult

NOTHING = float("nan")


def rows(solved: "LayerResult") -> list[LayerRow]:
    """Return a row for each stage of a layer, and two for each recorded round of phase 2."""
    dense = solved.problem.weight
    readings = _Readings(solved, float(dense.std(correction=0)))
    found = [readings.row("dense", dense)] if solved.stages.sparse else []
    found += [readings.row(*stage) for stage in solved.stages]
    for each in solved.rounds:
        found.append(readings.row("redense", each.dense, number=each.number))
        found.append(readings.row("pruned", each.sparse.weight, each.sparse.mask, each.number))
    asked = {id(value): value for fields in found for value in fields.values() if isinstance(value, Generator)}
    values = dict(zip(asked, read_all(list(asked.values()), dense.device), strict=True))  # waits for a device once
    return [_row({name: values.get(id(value), value) for name, value in fields.items()}) for fields in found]


def _row(fields: dict[str, Any]) -> LayerRow:
    return LayerRow(**vars(fields.pop("histogram")), **vars(fields.pop("statistics")), **fields)


class _Readings:
    """The rows of one layer, their numbers still to be read."""

    def __init__(self, solved: "LayerResult", dense_std: float):
        self._solved, self._dense_std = solved, dense_std
        self._first = first = _FirstPrune(solved)
        dense, sparse = solved.problem.weight, solved.sparse.weight
        self._norms = _norms(solved.problem.gram.norms[:CORNER])
        self._errors: dict[int, Callable[[], Tensor | float]] = {id(each.dense): each.measure for each in solved.rounds}
        # not through self: in a cycle, a solved layer's matrices would wait for the collector
        self._errors |= {id(dense): lambda: 0.0, id(sparse): lambda: first.energy}
        self._known: dict[int, dict[str, Any]] = {}  # the last round's weight is the stage `redense`: measured once

    def row(self, stage: RecordedStage, weight: Tensor, mask: Tensor | None = None, number: int = 0) -> dict[str, Any]:
        """Return a row's fields."""
        solved, dense, std = self._solved, self._solved.problem.weight, self._dense_std
        if id(weight) not in self._known:
            self._known[id(weight)] = self._numbers(stage, weight, mask, number)
        return self._known[id(weight)] | {
            "block": solved.linear.block,
            "linear": solved.linear.label,
            "name": solved.linear.name,
            "columns": dense.shape[1],
            "dense_std": std,
            "stage": stage,
            "round": number,
            "joint": None if number or stage == "dense" else joint_histogram(dense, weight, std),
            "crop": None if mask is None else mask_crop(solved.sparse.mask, mask),
            "corner": None if number else weight_corner(weight, std),
            "norms": None if number else self._norms,
        }

    def _numbers(self, stage: str, weight: Tensor, mask: Tensor | None, round: int) -> dict[str, Any]:
        """Return the fields that are the same wherever the weight occurs."""
        loss = self._errors.get(id(weight), partial(self._solved.problem.output_error, weight))
        return {
            "histogram": histogram(weight, self._dense_std),
            "statistics": statistics(weight, self._dense_std, mask),
            "loss": number(loss),
            "prune_energy": NOTHING if mask is not None or round else number(partial(self._first.prune_energy, weight)),
            "mask_changed": NOTHING if mask is None else mask_change(self._solved.sparse.mask, mask),
            "held_out": NOTHING if round else number(partial(self._held_out, stage, weight)),
        }

    def _held_out(self, stage: str, weight: Tensor) -> Tensor | float:
        if self._solved.held_out is None:
            return NOTHING
        return 0.0 if stage == "dense" else self._solved.held_out.output_error(weight)


def _norms(norms: Tensor) -> Reading[list[float]]:
    (values,) = yield [norms]
    return values.tolist()


class _FirstPrune:
    """The effect of phase 1 on a layer's outputs, and of Wanda's prune of any weight, which is often the same."""

    def __init__(self, solved: "LayerResult"):
        self._problem, self._pattern = solved.problem, solved.pattern
        self._change = solved.sparse.weight - solved.problem.weight

    @cached_property
    def energy(self) -> Tensor:
        """The sparse weight's output error."""
        return self._problem.energy(self._change)

    def prune_energy(self, weight: Tensor) -> Tensor:
        """The share of the dense output's energy that Wanda's prune of a weight (R, C) removes."""
        kept = wanda_mask(weight, self._problem.gram, self._pattern)
        change = weight * kept.to(weight.dtype) - weight
        same = change.is_cpu and torch.equal(change, self._change)  # a device computes faster than it is asked
        return self.energy if same else self._problem.energy(change)


def save(path: Path, block_rows: list[LayerRow]) -> None:
    """Write a block's rows."""
    distribution_files.save(path, block_rows)


def load(folder: Path) -> "pd.DataFrame":
    """All rows of a run so far, a stage's latest where it was computed twice.

    Raises:
        SDSError: a file is broken, or they unfold to too much.
    """
    import pandas  # takes 40 MB and half a second, which a worker that only writes records does without

    paths = [path for _, path in distribution_files.files(folder)]
    distribution_files.refuse_too_large(paths)
    frames = [distribution_files.read(path) for path in paths]
    if not frames:
        return pandas.DataFrame()
    together = pandas.concat(frames, ignore_index=True)
    return together.drop_duplicates(["block", "linear", "stage", "round"], keep="last").reset_index(drop=True)
