"""The recorded numbers of one layer at one stage or round, read block by block: a live run is read as it grows."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from sds_core.pruning.bins import BIN, SPAN, weights_counted
from sds_core.runs import distribution_files

SHOWN, MERGED = slice(33, 167), 2
"""The bins of a histogram within ±4 dense standard deviations are drawn, merged in pairs."""
LOW = -SPAN + BIN * (SHOWN.start + MERGED / 2)
HIGH = -SPAN + BIN * (SHOWN.stop - MERGED / 2)
"""Centres of the first and the last drawn bin, in dense standard deviations."""
COLUMNS = ["linear", "stage", "round", "counts", "below", "above", "zeros", "near_zero"]
COLUMNS += ["loss", "held_out", "mask_changed", "dense_std"]
MEASURES = ("loss", "held_out", "mask_changed")
"""The quantities of a layer that a map can show."""

Key = tuple[str, str, int]
"""Linear, stage and round, as in the record: round 0 is the stage itself, stage `pruned` a round's prune."""


@dataclass(frozen=True)
class LayerNumbers:
    """One layer at one stage or round."""

    density: tuple[float, ...]
    """Weights per dense standard deviation as shares of all, at equal steps from `LOW` to `HIGH`, without zeros."""
    zeros: float
    """Share of exact zeros."""
    near_zero: float
    """Share of weights below 0.1 dense standard deviations, zeros included."""
    dense_std: float
    loss: float | None
    """Output error, relative to the dense output's energy."""
    held_out: float | None
    """The same on windows that no solver has seen."""
    mask_changed: float | None
    """Share of the first prune's kept weights that are not kept here."""


def density(counts: np.ndarray, total: int) -> tuple[float, ...]:
    """Return a histogram's counts as shares of all weights per dense standard deviation, where it is drawn.

    Args:
        counts: (`BINS`,), without exact zeros.
        total: number of weights, zeros and those beyond the histogram included.
    """
    drawn = np.asarray(counts, dtype=float)[SHOWN].reshape(-1, MERGED).mean(axis=1)
    return tuple((drawn / max(total, 1) / BIN).tolist())


def block_files(folder: Path) -> dict[int, list[Path]]:
    """Return the files of a run's distributions by block, in the order of writing."""
    found: dict[int, list[Path]] = {}
    for block, path in distribution_files.files(folder):
        found.setdefault(block, []).append(path)
    return found


def read_block(path: Path) -> dict[Key, LayerNumbers]:
    """Return the layers in a file of distributions; branches share their parent's file, which is read once.

    Raises:
        SDSError: the file is broken, or gone.
    """
    return _read(str(path), *distribution_files.stamp(path))


@lru_cache(maxsize=2048)
def _read(path: str, inode: int, changed: int) -> dict[Key, LayerNumbers]:
    frame = distribution_files.read(Path(path), COLUMNS)
    return {(str(row.linear), str(row.stage), int(row.round)): _numbers(row) for row in frame.itertuples()}


def _numbers(row: "pd.core.frame._PandasNamedTuple") -> LayerNumbers:
    counts = np.asarray(row.counts)
    total = weights_counted(counts, row.below, row.above, row.zeros)
    measured = {name: None if np.isnan(value := getattr(row, name)) else float(value) for name in MEASURES}
    return LayerNumbers(
        density=density(counts, total),
        zeros=row.zeros / max(total, 1),
        near_zero=float(row.near_zero),
        dense_std=float(row.dense_std),
        **measured,
    )
