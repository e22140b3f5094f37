"""The Walk: one step with its question, the ways to predict, and the picture of the answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pages.ui.pictures import component
from pages.ui.pictures.wire import Packed, wire

Stage = Literal["dense", "sparse", "redense", "final"]


@dataclass(frozen=True)
class Preset:
    """A guess that a digit key picks: an option's key, as "a", or a whole number."""

    guess: str
    name: str | None = None


@dataclass(frozen=True)
class Option:
    """An answer to choose; `sketch`: the curve it stands for, `pack_curve`."""

    name: str
    note: str | None = None
    sketch: Packed | None = None


@dataclass(frozen=True)
class Bar:
    """A model's perplexity; `color`: a name of `sds_core.figures.palette`.

    Attributes:
        role: `known` before the answer, `asked` for, or shown `later`.
        ratio, error: × dense and its paired standard error.
    """

    name: str
    color: str
    value: float
    role: Literal["known", "asked", "later"]
    of: str | None = None
    ratio: float | None = None
    error: float | None = None


@dataclass(frozen=True)
class Bars:
    """How high is a perplexity? Guessed as a whole number from 0 to `top`.

    Attributes:
        value: the answer.
        start: where the slider stands before it is moved.
        about: said beside the guess.
    """

    rows: tuple[Bar, ...]
    presets: tuple[Preset, ...]
    value: float
    top: float
    start: int
    about: str = ""
    unit: str = ""
    kind: Literal["bars"] = "bars"


@dataclass(frozen=True)
class Rank:
    """Which model is best? The first options are the rows in their order; `right` is a preset's guess."""

    rows: tuple[Bar, ...]
    options: tuple[Option, ...]
    presets: tuple[Preset, ...]
    right: str
    top: float
    kind: Literal["rank"] = "rank"


@dataclass(frozen=True)
class Shape:
    """Which curve will it be? Sketches over the dense curve; the dense curve turns into the one measured.

    Attributes:
        dense, after: densities, `pack_curve`, from `low` to `high` dense σ.
        zeros: share of the weights after.
        does: what was done, in words.
    """

    options: tuple[Option, ...]
    presets: tuple[Preset, ...]
    right: str
    dense: Packed
    after: Packed
    zeros: float
    low: float
    high: float
    stage: Stage
    does: str
    layer: str
    kind: Literal["shape"] = "shape"


@dataclass(frozen=True)
class Share:
    """How large is a share? Guessed in whole per cent from 0 to `top`, on a ruler under a scene.

    Attributes:
        value: the answer in per cent, of the whole model.
        caption: what the scene shows.
        dense, after, low, high: the scene is a distribution, and `near` the half width of the band that is counted, in
            dense σ; without `after` it is the dense one.
        mask, rows, columns, group: the scene is a corner of two masks, `pack_codes`.
    """

    presets: tuple[Preset, ...]
    value: float
    top: float
    start: int
    stage: Stage
    caption: str
    does: str
    about: str = ""
    unit: str = " %"
    dense: Packed | None = None
    after: Packed | None = None
    near: float | None = None
    low: float | None = None
    high: float | None = None
    mask: Packed | None = None
    rows: int | None = None
    columns: int | None = None
    group: int | None = None
    kind: Literal["share"] = "share"


@dataclass(frozen=True)
class Step:
    """One question, `number` from 1; `said` is the answer in words."""

    number: int
    before: str
    question: str
    said: str
    why: str
    answer: Bars | Rank | Shape | Share


@dataclass(frozen=True)
class View:
    """The selection; a pick brings these names. `guess` is empty, an option's key or a whole number."""

    step: int
    guess: str
    shown: bool


@dataclass(frozen=True)
class Walk:
    """The titles of all steps, and the one that is chosen; None where its answer is not here.

    Attributes:
        votes: how often a class has made each guess at this step; None without a class.
    """

    view: View
    titles: tuple[str, ...]
    step: Step | None
    present: bool = False
    votes: dict[str, int] | None = None


def mount(data: Walk, *, key: str, on_pick: Callable[[component.Pick], None]) -> None:
    """Draw the step."""
    component.mount("walk", wire(data), key=key, on_pick=on_pick)
