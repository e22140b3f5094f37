"""Measurements of a model and of one of its layers, as several pictures draw them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pages.ui.pictures.wire import Packed

Stage = Literal["sparse", "redense", "final"]


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
class Round:
    """A layer after one round of phase 2: free to move, and pruned then."""

    number: int
    redense: Cell
    final: Cell
