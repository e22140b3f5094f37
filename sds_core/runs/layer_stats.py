"""The record of every layer: distributions on fixed edges, statistics, losses, changed masks. Parquet files."""

from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd
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
from sds_core.pruning.stages import Stage
from sds_core.runs import distribution_files
from sds_core.runs.distribution_files import LayerRow

if TYPE_CHECKING:
    from sds_core.layer_result import LayerResult

NOTHING = float("nan")


def rows(solved: "LayerResult") -> list[LayerRow]:
    """Return a row for each stage of a layer, and two for each recorded round of phase 2."""
    dense = solved.problem.weight
    dense_std = float(dense.std(correction=0))
    norms = solved.problem.gram.norms[:CORNER].tolist()
    losses: dict[int, Callable[[], float]] = {id(one.dense): partial(getattr, one, "loss") for one in solved.rounds}
    losses[id(dense)] = lambda: 0.0
    first = _FirstPrune(solved)
    losses[id(solved.sparse.weight)] = lambda: first.loss
    known: dict[int, dict[str, Any]] = {}  # the last round's weight is the stage `redense` itself: measured once

    def row(stage: Stage | Literal["pruned"], weight: Tensor, mask: Tensor | None = None, number: int = 0) -> LayerRow:
        if id(weight) not in known:
            numbers = vars(histogram(weight, dense_std)) | vars(statistics(weight, dense_std, mask))
            known[id(weight)] = numbers | {
                "loss": losses[id(weight)]() if id(weight) in losses else solved.problem.loss(weight),
                "prune_energy": NOTHING if mask is not None or number else first.prune_energy(weight),
                "mask_changed": NOTHING if mask is None else mask_change(solved.sparse.mask, mask),
                "held_out": _held_out(solved, stage, weight) if not number else NOTHING,
            }
        return LayerRow(
            block=solved.linear.block,
            linear=solved.linear.label,
            name=solved.linear.name,
            columns=dense.shape[1],
            dense_std=dense_std,
            stage=stage,
            round=number,
            **known[id(weight)],
            joint=None if number or stage == "dense" else joint_histogram(dense, weight, dense_std),
            crop=None if mask is None else mask_crop(solved.sparse.mask, mask),
            corner=None if number else weight_corner(weight, dense_std),
            norms=None if number else norms,
        )

    found = [row("dense", dense)] if solved.stages.sparse else []
    found += [row(*stage) for stage in solved.stages]
    for one in solved.rounds:
        found.append(row("redense", one.dense, number=one.number))
        found.append(row("pruned", one.sparse.weight, one.sparse.mask, one.number))
    return found


def _held_out(solved: "LayerResult", stage: str, weight: Tensor) -> float:
    if solved.held_out is None:
        return NOTHING
    return 0.0 if stage == "dense" else solved.held_out.loss(weight)


class _FirstPrune:
    """The effect of phase 1 on a layer's outputs, and of Wanda's prune of any weight, which is often the same."""

    def __init__(self, solved: "LayerResult"):
        self._problem, self._pattern = solved.problem, solved.pattern
        self._change = solved.sparse.weight - solved.problem.weight

    @cached_property
    def _energy(self) -> float:
        return self._problem.energy(self._change)

    @property
    def loss(self) -> float:
        """The sparse weight's loss."""
        return self._energy - self._problem.pulled(self._change)

    def prune_energy(self, weight: Tensor) -> float:
        """The share of the dense output's energy that Wanda's prune of a weight (R, C) removes."""
        kept = self._pattern.mask((weight * self._problem.gram.scale).abs(), "row")
        change = weight * kept.to(weight.dtype) - weight
        return self._energy if torch.equal(change, self._change) else self._problem.energy(change)


def save(path: Path, block_rows: list[LayerRow]) -> None:
    """Write a block's rows."""
    distribution_files.save(path, block_rows)


def load(folder: Path) -> pd.DataFrame:
    """All rows of a run so far, a stage's latest where it was computed twice.

    Raises:
        SDSError: a file is broken, or they unfold to too much.
    """
    paths = [path for _, path in distribution_files.files(folder)]
    distribution_files.refuse_too_large(paths)
    frames = [distribution_files.read(path) for path in paths]
    if not frames:
        return pd.DataFrame()
    together = pd.concat(frames, ignore_index=True)
    return together.drop_duplicates(["block", "linear", "stage", "round"], keep="last").reset_index(drop=True)


def pack(mask: Tensor) -> Tensor:
    """A mask (R, C) as bits in uint8 (⌈R·C / 8⌉,)."""
    bits = mask.flatten().to(torch.uint8)
    bits = torch.nn.functional.pad(bits, (0, -len(bits) % 8)).view(-1, 8)
    return (bits << torch.arange(8, dtype=torch.uint8, device=bits.device)).sum(dim=1, dtype=torch.uint8)


def unpack(bits: Tensor, shape: tuple[int, int]) -> Tensor:
    """The inverse of `pack`."""
    flat = ((bits[:, None] >> torch.arange(8, dtype=torch.uint8)) & 1).flatten()
    return flat[: shape[0] * shape[1]].view(shape).bool()
