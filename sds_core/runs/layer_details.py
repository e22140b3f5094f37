"""The full record of one layer: statistics, and where each weight went, besides what `layer_numbers` reads."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from sds_core.pruning.bins import BINS, CORNER, CORNER_STEP, JOINT, weights_counted
from sds_core.pruning.stages import LayerStage
from sds_core.runs import distribution_files
from sds_core.runs.layer_numbers import block_files

UNSURE = 0.1
"""Where dense weights are known from their finer histogram alone, differences below this share of them are dropped:
spreading counts over bins of another width is not exact."""

FEW = 0.005
"""A stage with at most this share of zeros prunes nothing: the few are there by rounding."""


@dataclass(frozen=True, eq=False)
class LayerDetails:
    """One layer at one stage."""

    total: int
    """Number of weights."""
    zeros: int
    """Exact zeros among them."""
    spread: float
    """Standard deviation of all weights, in dense standard deviations."""
    kurtosis: float
    """Excess kurtosis of the non-zero weights."""
    prune_energy: float | None
    """Share of the dense output's energy that Wanda's prune of these weights would remove."""
    histogram: np.ndarray
    """(`JOINT`,) weights that are not zero, by the cells of `joint`, from the finer histogram."""
    joint: np.ndarray | None
    """(`JOINT`, `JOINT`) weights that are not zero, by dense and present cell; None for the dense layer."""
    crop: np.ndarray | None
    """(rows, columns) codes of `mask_crop`; None where the stage has no mask."""
    corner: np.ndarray | None
    """(rows, columns) weights of the same corner."""
    norms: np.ndarray | None
    """(columns,) norms of its inputs."""

    @property
    def moved(self) -> bool:
        """Whether any weight that is not zero has left its cell."""
        return self.joint is not None and int(np.trace(self.joint)) < int(self.joint.sum())


@dataclass(frozen=True)
class LayerRecord:
    """All that a run has recorded of a layer."""

    stages: dict[LayerStage, LayerDetails] = field(default_factory=dict)
    rounds: dict[int, np.ndarray] = field(default_factory=dict)
    """Codes of `mask_crop` after each recorded round of phase 2."""

    def __or__(self, later: "LayerRecord") -> "LayerRecord":
        return LayerRecord(self.stages | later.stages, self.rounds | later.rounds)


def read_layer(folder: Path, block: int, linear: str) -> LayerRecord:
    """Return what a run has recorded of a layer.

    Args:
        folder: of the run.

    Raises:
        SDSError: a file is broken, or gone.
    """
    found = LayerRecord()
    for path in block_files(folder).get(block, []):
        found |= _read(str(path), *distribution_files.stamp(path)).get(linear, LayerRecord())
    return found


def dense_cells(stages: Mapping[LayerStage, LayerDetails]) -> tuple[np.ndarray, bool] | None:
    """Return how many dense weights lie in each cell (`JOINT`,), and whether that is exact.

    It is, but for that stage's own few zeros, where a stage that prunes nothing has recorded where they went.

    Args:
        stages: of one layer, of any run.
    """
    for layer in stages.values():
        if layer.joint is not None and layer.zeros <= FEW * layer.total:
            return layer.joint.sum(axis=1), True
    dense = stages.get("dense")
    return None if dense is None else (dense.histogram + _at_zero(dense.zeros), False)


def gone(stage: LayerDetails, dense: tuple[np.ndarray, bool]) -> np.ndarray:
    """Return how many weights have become zero, by their dense cell (`JOINT`,).

    Args:
        dense: from `dense_cells`.
    """
    assert stage.joint is not None
    before, exact = dense
    if exact:
        return np.maximum(before - stage.joint.sum(axis=1), 0)
    if not stage.moved:  # both histograms are spread in the same way
        return np.maximum(before - stage.histogram, 0)
    lost = before - stage.joint.sum(axis=1)
    return np.where(lost > UNSURE * before, lost, 0)


@lru_cache(maxsize=32)
def _read(path: str, inode: int, changed: int) -> dict[str, LayerRecord]:
    found: dict[str, LayerRecord] = {}
    for _, row in distribution_files.read(Path(path)).iterrows():
        layer = found.setdefault(row["linear"], LayerRecord())
        if row["round"] == 0:
            layer.stages[row["stage"]] = _details(row)
        elif (crop := _corner(row, "crop")) is not None:
            layer.rounds[int(row["round"])] = crop
    return found


def _details(row: pd.Series) -> LayerDetails:
    joint, norms, corner = row["joint"], row["norms"], _corner(row, "corner")
    zeros, dense_std = int(row["zeros"]), float(row["dense_std"]) or 1.0
    energy = float(row["prune_energy"])
    return LayerDetails(
        total=weights_counted(row["counts"], row["below"], row["above"], zeros),
        zeros=zeros,
        spread=float(row["std"]) / dense_std,
        kurtosis=float(row["kurtosis"]),
        prune_energy=None if np.isnan(energy) else energy,
        histogram=_rebinned(np.asarray(row["counts"]), int(row["below"]), int(row["above"])),
        joint=None if joint is None else np.asarray(joint).reshape(JOINT, JOINT),
        crop=_corner(row, "crop"),
        corner=None if corner is None else corner * (CORNER_STEP * dense_std),
        norms=None if norms is None else np.asarray(norms),
    )


def _corner(row: pd.Series, column: str) -> np.ndarray | None:
    """Return a column that holds the upper left corner of the layer; None where it is not recorded."""
    values = row[column]
    return None if values is None else np.asarray(values).reshape(-1, min(int(row["columns"]), CORNER))


def _rebinned(counts: np.ndarray, below: int, above: int) -> np.ndarray:
    """Return a histogram of `BINS` in `JOINT` bins: counts are spread evenly over the bins that they came in."""
    so_far = np.concatenate([[0], np.cumsum(counts)])
    found = np.diff(np.interp(np.linspace(0, BINS, JOINT + 1), np.arange(BINS + 1), so_far))
    found[0] += below
    found[-1] += above
    return found


def _at_zero(zeros: int) -> np.ndarray:
    """Return exact zeros by cell: they lie on the edge between the two in the middle, and count to the upper one."""
    found = np.zeros(JOINT)
    found[JOINT // 2] = zeros
    return found
