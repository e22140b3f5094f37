"""One layer of one run at one stage: where each weight went, mask and weights of a corner, numbers, rounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pages.ui.pictures import component, measured
from pages.ui.pictures.wire import Packed, wire

Stage = Literal["dense", "sparse", "redense", "final"]
Unit = Literal["share", "percent", "number"]
"""`share` has no decimals, `percent` one."""


@dataclass(frozen=True)
class RunName:
    """A run that can be shown; `color`: a name of `sds_core.figures.palette`."""

    key: str
    name: str
    color: str
    origin: str | None = None


@dataclass(frozen=True)
class Density:
    """Where the weights went that are not zero at the stage.

    Attributes:
        counts: weights by cell, `pack_values`, dense cell by dense cell, in each the present cells from low to high.
        gone: weights that became zero, by dense cell.
        total: of all weights of the layer.
        zeros, near_zero: shares of all weights at the stage.
        stayed: share of the weights not zero that stayed in their cell.
        cell: its width in dense σ, as it is said.
    """

    counts: Packed
    total: int
    zeros: float
    near_zero: float
    stayed: float
    cell: float
    gone: Packed | None = None


@dataclass(frozen=True)
class MaskCounts:
    """Entries of the corner by what the first mask and the present one do with them."""

    pruned: int
    lost: int
    returned: int
    kept: int


@dataclass(frozen=True)
class Corner:
    """The upper left corner of the layer's weight.

    Attributes:
        codes: of the masks, `pack_codes`: 0 pruned by both, 1 kept by the first only, 2 by the last only, 3 by both;
            while there is one mask only, it is both.
        mask_changed: share of the first mask's weights that are not kept, in the whole layer.
        weights, step: at the stage, `pack_steps`.
        norms: of the corner's inputs, `pack_values`.
    """

    rows: int
    columns: int
    codes: Packed | None = None
    counts: MaskCounts | None = None
    mask_changed: float | None = None
    weights: Packed | None = None
    step: float | None = None
    norms: Packed | None = None


@dataclass(frozen=True)
class Row:
    """A quantity by stage; what is not measured is left out."""

    name: str
    about: str
    unit: Unit
    values: dict[Stage, float]


@dataclass(frozen=True)
class Round(measured.Round):
    """A round with its mask: `codes` and `counts` as in `Corner`."""

    codes: Packed | None = None
    counts: MaskCounts | None = None


@dataclass(frozen=True)
class View:
    """The selection; a pick brings the same names. `corner`: mask or weights."""

    run: str
    at: int
    stage: Stage
    round: int
    corner: str


@dataclass(frozen=True)
class Details:
    """The numbers of one layer, run and stage.

    Attributes:
        stage: of the numbers.
        runs, stages: to choose from.
        pattern_says: what the pattern asks for, said of the first mask.
        group: inputs in a group of an N:M pattern.
        std: the dense σ; all else on axes is in units of it.
        low, high, side: ends of the density's axes, and its cells to a side.
        curve_low, curve_high: first and last point of every curve.
        cells: curves of the dense layer and of the stage.
        no_corner, no_rounds: why there is none.
    """

    view: View
    stage: Stage
    blocks: int
    linears: tuple[str, ...]
    runs: tuple[RunName, ...]
    stages: tuple[Stage, ...]
    pattern_says: str
    std: float
    low: float
    high: float
    side: int
    curve_low: float
    curve_high: float
    cells: dict[Stage, measured.Cell]
    numbers: tuple[Row, ...]
    rounds: tuple[Round, ...] = ()
    density: Density | None = None
    corner: Corner | None = None
    group: int | None = None
    no_corner: str | None = None
    no_rounds: str | None = None
    present: bool = False


def mount(data: Details, *, key: str, on_pick: Callable[[component.Pick], None]) -> None:
    """Draw the details."""
    component.mount("details", wire(data), key=key, on_pick=on_pick)
