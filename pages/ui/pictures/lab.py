"""The Layer lab: one layer's weights round by round, and what each stop would cost on both texts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pages.ui.pictures import component
from pages.ui.pictures.wire import Packed, wire


@dataclass(frozen=True)
class Errors:
    """Output errors of the layer as shares of its output: on the calibration text, and on held-out text."""

    seen: float
    held_out: float


@dataclass(frozen=True)
class State:
    """The layer at a stop.

    Attributes:
        curve: density of its weights, `pack_curve`.
        zeros: share of its weights.
        mask_changed: share of the first mask's weights that are not kept here.
    """

    curve: Packed
    seen: float
    held_out: float
    zeros: float = 0.0
    mask_changed: float | None = None


@dataclass(frozen=True)
class Round:
    """A round: the layer free to move, and pruned then."""

    number: int
    redense: State
    final: State


@dataclass(frozen=True)
class View:
    """The selection; a pick brings this name. An unknown round means the last one."""

    round: int


@dataclass(frozen=True)
class Lab:
    """The numbers of the lab; at least one round.

    Attributes:
        dense: density of the dense weights, `pack_curve`, as all curves from `low` to `high` dense σ.
        first, solved: errors of the first prune, and with its kept weights solved for.
    """

    view: View
    dense: Packed
    low: float
    high: float
    first: Errors
    solved: Errors
    rounds: tuple[Round, ...]
    present: bool = False


def mount(data: Lab, *, key: str, on_pick: Callable[[component.Pick], None]) -> None:
    """Draw the lab's picture."""
    assert data.rounds
    component.mount("lab", wire(data), key=key, on_pick=on_pick)
