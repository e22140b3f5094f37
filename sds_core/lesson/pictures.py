"""The numbers of the Walk's pictures: perplexities side by side, a layer's distribution, a corner of two masks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from sds_core.figures.layer import size
from sds_core.lesson.curves import LOW, curve
from sds_core.pruning.bins import BIN, CORNER

ROWS = 24
"""Rows of the mask that are shown, of all recorded columns: few enough to see each from the back of a room."""
ROOM = 1.4
"""The axis ends at this multiple of the highest perplexity: there is room for the numbers beside the bars."""


@dataclass(frozen=True)
class Bar:
    """A model's perplexity."""

    kind: str
    """`dense`, or the option's name of the base pruner or of the method: it has a colour."""
    name: str
    of: str
    """A few words below the name."""
    perplexity: float
    ratio: float | None = None
    """To the dense model's."""
    error: float | None = None
    """Paired standard error of `ratio` over windows."""


@dataclass(frozen=True)
class Bars:
    """Perplexities on one axis: those that are given, and those to predict."""

    known: tuple[Bar, ...]
    asked: tuple[Bar, ...]

    @property
    def top(self) -> float:
        """End of the axis."""
        return round_end(ROOM * max(bar.perplexity for bar in (*self.known, *self.asked)))


@dataclass(frozen=True)
class Distribution:
    """One layer's weights: dense, and after a step where there is one."""

    layer: str
    dense: list[float]
    """As `curves.curve` gives it."""
    after: list[float] | None = None
    zeros: float = 0.0
    """Share of zeros after that step."""
    sketches: tuple[list[float], ...] = ()
    """The shapes to choose from before `after` is shown."""


@dataclass(frozen=True)
class MaskCorner:
    """The upper left corner of one layer's first mask and of a later one."""

    layer: str
    codes: list[int]
    """`mask_crop`'s, row by row."""
    rows: int
    columns: int


def round_end(value: float) -> float:
    """Return the next multiple of a fifth of the value's power of ten: 114 → 120."""
    unit = 10.0 ** math.floor(math.log10(value)) / 5
    return math.ceil(value / unit) * unit


def distribution(layer: str, dense: pd.Series, after: pd.Series | None = None) -> Distribution:
    """Return the distribution that two rows of the layer statistics record."""
    if after is None:
        return Distribution(layer, curve(dense["counts"], size(dense)))
    share = float(after["zeros"]) / size(after)
    return Distribution(layer, curve(dense["counts"], size(dense)), curve(after["counts"], size(after)), share)


def sketches(dense: Sequence[float]) -> tuple[list[float], ...]:
    """Return three ways for half of the weights to go: of every size alike, the smaller half, mostly small ones.

    Args:
        dense: the dense curve.
    """
    sizes = [abs(LOW + i * BIN) for i in range(len(dense))]
    by_size = sorted(zip(sizes, dense, strict=True))
    below, half = 0.0, sum(dense) / 2
    median = next(size for size, value in by_size if (below := below + value) >= half)
    kept = (lambda x: 0.5, lambda x: float(x > median), lambda x: x * x / (x * x + median * median))
    return tuple([value * share(x) for x, value in zip(sizes, dense, strict=True)] for share in kept)


def corner(layer: str, crop: Sequence[int], columns: int) -> MaskCorner:
    """Return the first `ROWS` rows of a crop of two masks.

    Args:
        layer: its name.
        crop: what `mask_crop` returns.
        columns: number of inputs of the layer.
    """
    wide = min(columns, CORNER)
    codes = [int(code) for code in crop[: ROWS * wide]]
    return MaskCorner(layer, codes, len(codes) // wide, wide)
