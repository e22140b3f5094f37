"""Micro: matrices of an 8×8 example, a number in every cell, legible at the far end of a room."""

from __future__ import annotations

from dataclasses import dataclass, field

from pages.ui.pictures import component
from pages.ui.pictures.wire import wire


@dataclass(frozen=True)
class Matrix:
    """A matrix, with a gap after every fourth column.

    Attributes:
        key: its name among those of the example.
        title: stands above it.
        alt: what it shows, for those who cannot see it.
        rows: its values.
        faded: cells without colour, such as pruned weights; counted from 0, row by row.
        lost, returned: cells framed in the colour of the one and the other.
        row, column: framed as a whole, counted from 0.
        numbered: whether rows and columns have their numbers beside them.
        below: whether it stands below the one before it.
    """

    key: str
    title: str
    alt: str
    rows: tuple[tuple[float, ...], ...]
    faded: tuple[int, ...] = ()
    lost: tuple[int, ...] = ()
    returned: tuple[int, ...] = ()
    row: int | None = None
    column: int | None = None
    numbered: bool = True
    below: bool = False


@dataclass(frozen=True)
class View:
    """Nothing is picked in these."""


@dataclass(frozen=True)
class Micro:
    """The matrices of a step.

    Attributes:
        note: a sentence in the place after the last one.
        low: with low rows, for four places.
    """

    matrices: tuple[Matrix, ...]
    note: str | None = None
    low: bool = False
    present: bool = False
    view: View = field(default_factory=View)


def mount(data: Micro, *, key: str) -> None:
    """Draw the matrices."""
    component.mount("micro", wire(data), key=key)
