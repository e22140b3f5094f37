"""The numbers that the Studio's picture is drawn from, and how they travel.

Every field is a plain number or text; what is None is left out. Curves and maps are packed, for a message is sent at
every finished block.
"""

from __future__ import annotations

import base64
import math
import sys
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Literal, NewType

Packed = NewType("Packed", str)
"""Numbers as base64 of their little-endian bytes."""
CURVE_SCALE = 1800
"""Steps of a packed density, which reach 18: a density over bins of 12 / 201 σ is at most 16.75."""
Stage = Literal["sparse", "redense", "final"]


def pack_curve(density: Iterable[float]) -> Packed:
    """Pack densities to be drawn, in 16 bits each."""
    return _pack(array("h", (min(32767, round(v * CURVE_SCALE)) for v in density)))


def pack_values(values: Iterable[float | None]) -> Packed:
    """Pack numbers to be read, in 32 bits each; None is what is not known."""
    return _pack(array("f", (math.nan if v is None else v for v in values)))


def _pack(numbers: array) -> Packed:
    if sys.byteorder == "big":
        numbers.byteswap()
    return Packed(base64.b64encode(numbers.tobytes()).decode())


@dataclass(frozen=True)
class Perplexity:
    """A measured perplexity; of a pruned model also × dense and its paired standard error."""

    value: float
    ratio: float | None = None
    error: float | None = None


@dataclass(frozen=True)
class Change:
    """The paired ratio of two perplexities, less one: −0.37 is 37 % below.

    Attributes:
        against: the name of the run compared with.
    """

    value: float
    error: float
    against: str


@dataclass(frozen=True)
class Cell:
    """One layer at one stage of one run, and the whole model at that stage.

    Attributes:
        done: blocks of the model that have finished the stage.
        curve: the layer's density, `pack_curve`; None while its block is not finished.
        zeros: share of the weights.
        near_zero: share of the weights within a tenth of the dense σ of zero, zeros included.
        loss: the layer's output error.
        mask_changed: share of the first prune's kept weights that are not kept here.
        perplexity: of the whole model.
        same: the base pruner's name where this is its model, and `perplexity` its number.
        why: why there is no perplexity.
    """

    done: int
    curve: Packed | None = None
    zeros: float | None = None
    near_zero: float | None = None
    loss: float | None = None
    mask_changed: float | None = None
    perplexity: Perplexity | None = None
    same: str | None = None
    why: str | None = None


@dataclass(frozen=True)
class RunColumn:
    """A run, as a column of the grid.

    Attributes:
        key: told back in a pick.
        name: of the method, or of the base pruner in a phase-1 run.
        color: a name of `sds_core.figures.palette`.
        cells: by stage; a phase-1 run has `sparse` alone.
        base: key of the run it starts from; None in a phase-1 run.
        origin: name of that run.
        change: final against the base pruner.
    """

    key: str
    name: str
    color: str
    cells: dict[Stage, Cell]
    base: str | None = None
    origin: str | None = None
    change: Change | None = None


@dataclass(frozen=True)
class Layer:
    """Which layer the numbers belong to, `block × linears + linear`, and its dense weights.

    Attributes:
        low, high: σ at the first and last point of every curve.
        std: the dense σ; None while the dense layer is being read, as its curve is.
    """

    at: int
    low: float
    high: float
    dense: Cell
    std: float | None = None


@dataclass(frozen=True)
class ModelMap:
    """One quantity of every layer, of one run and stage.

    Attributes:
        top: the largest of that quantity over all runs and stages.
        values: `pack_values`, block by block; None where there is no run.
        rounds: the same by round, where rounds are recorded.
    """

    stage: Stage
    quantity: str
    top: float
    run: str | None = None
    values: Packed | None = None
    rounds: dict[int, Packed] | None = None


@dataclass(frozen=True)
class Quantity:
    """A quantity the map can show; `roots`: its colours go by the square root."""

    key: str
    name: str
    about: str
    available: bool = True
    roots: bool = True


@dataclass(frozen=True)
class Round:
    """The layer after one round: free to move, and pruned then."""

    number: int
    redense: Cell
    final: Cell


@dataclass(frozen=True)
class Rounds:
    """The rounds of one run, the last of them its end."""

    run: str
    list: tuple[Round, ...]


@dataclass(frozen=True)
class Working:
    """The phase that is running; `doing` is said after "15 of 30 ·", as "gate_proj, 11 s left"."""

    run: str
    stage: Stage
    doing: str


@dataclass(frozen=True)
class StudioView:
    """What is chosen; a pick brings the same names."""

    run: str
    stage: str
    at: int
    quantity: str
    round: int
    follow: bool


@dataclass(frozen=True)
class Studio:
    """The Studio's numbers.

    Attributes:
        live: offer to follow the newest block.
        dense: perplexity of the dense model.
        no_rounds: why there are none to play.
        present: 20 px type.
    """

    view: StudioView
    blocks: int
    linears: tuple[str, ...]
    quantities: tuple[Quantity, ...]
    layer: Layer
    map: ModelMap
    runs: tuple[RunColumn, ...]
    dense: Perplexity | None = None
    rounds: Rounds | None = None
    no_rounds: str | None = None
    working: Working | None = None
    live: bool = False
    present: bool = False


def wire(value: Any) -> Any:
    """Return what the browser gets: dicts and lists, without what is None, numbers to nine digits."""
    if is_dataclass(value):
        pairs = ((field.name, getattr(value, field.name)) for field in fields(value))
        return {name: wire(one) for name, one in pairs if one is not None}
    if isinstance(value, Mapping):
        return {str(name): wire(one) for name, one in value.items() if one is not None}
    if isinstance(value, list | tuple):
        return [wire(one) for one in value]
    return float(f"{value:.9g}") if isinstance(value, float) else value
