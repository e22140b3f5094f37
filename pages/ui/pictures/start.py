"""The moving picture of Start: one layer's weights through the four stages, and the model's perplexity at each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pages.ui.pictures import component
from pages.ui.pictures.measured import Change, Perplexity
from pages.ui.pictures.wire import Packed, wire


@dataclass(frozen=True)
class Stage:
    """A stage of the layer and of the model.

    Attributes:
        does: what happened, for a newcomer.
        curve: density of the layer's weights, `pack_curve`.
        zeros: share of its weights.
        change: of the perplexity against an earlier stage.
        why: why there is no perplexity.
    """

    stage: Literal["dense", "sparse", "redense", "final"]
    does: str
    curve: Packed
    zeros: float
    perplexity: Perplexity | None = None
    change: Change | None = None
    why: str | None = None


@dataclass(frozen=True)
class Start:
    """The four stages in order.

    Attributes:
        layer: model, block and linear, in words.
        low, high: dense σ at the first and last point of every curve.
    """

    layer: str
    low: float
    high: float
    stages: tuple[Stage, ...]
    present: bool = False


def mount(data: Start, *, key: str) -> None:
    """Draw the moving picture."""
    component.mount("start", wire(data), key=key)
