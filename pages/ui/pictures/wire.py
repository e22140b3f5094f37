"""Encode numbers for a picture: as plain dicts and lists, curves and maps packed.

None is left out, and numbers that are drawn but never read are sent in 16 bits, since a message is sent at every
finished block.
"""

from __future__ import annotations

import base64
import math
import sys
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, NewType

Packed = NewType("Packed", str)
"""Numbers as base64 of their little-endian bytes."""
CURVE_SCALE = 1800
"""Steps of a packed density, which reach 18: a density over bins of 12 / 201 σ is at most 16.75."""
LARGEST = 32767


def pack_curve(density: Iterable[float]) -> Packed:
    """Pack densities to be drawn, in 16 bits each."""
    return _pack(array("h", (min(LARGEST, round(v * CURVE_SCALE)) for v in density)))


def pack_values(values: Iterable[float | None]) -> Packed:
    """Pack numbers to be read, in 32 bits each; None for unknown ones."""
    return _pack(array("f", (math.nan if v is None else v for v in values)))


def pack_steps(values: Iterable[float]) -> tuple[Packed, float]:
    """Pack numbers in 16 bits each, with the size of a step: the largest of them is 32767 steps."""
    known = list(values)
    step = max(map(abs, known), default=0.0) / LARGEST or 1.0
    return _pack(array("h", (round(v / step) for v in known))), step


def pack_codes(codes: Iterable[int]) -> Packed:
    """Pack codes 0 to 3, four to a byte, the first in the lowest bits."""
    known = [*codes]
    known += [0] * (-len(known) % 4)
    quarters = (known[i : i + 4] for i in range(0, len(known), 4))
    return _pack(array("B", (a | b << 2 | c << 4 | d << 6 for a, b, c, d in quarters)))


def _pack(numbers: array) -> Packed:
    if sys.byteorder == "big":
        numbers.byteswap()
    return Packed(base64.b64encode(numbers.tobytes()).decode())


def wire(value: Any) -> Any:
    """Return what the browser gets: dicts and lists, without what is None, numbers to nine digits."""
    if is_dataclass(value):
        pairs = ((field.name, getattr(value, field.name)) for field in fields(value))
        return {name: wire(content) for name, content in pairs if content is not None}
    if isinstance(value, Mapping):
        return {str(name): wire(content) for name, content in value.items() if content is not None}
    if isinstance(value, list | tuple):
        return [wire(item) for item in value]
    return float(f"{value:.9g}") if isinstance(value, float) else value
