"""The colours of stages and runs, light and dark, from `palette.json`: pictures in the browser read the same file."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

Shade = tuple[str, str]
"""A colour on a light page and on a dark one."""


@dataclass(frozen=True)
class Palette:
    """Colours by name.

    Attributes:
        stages: dense, sparse, redense, final, distilled.
        runs: base pruners and methods, by their option's name.
        signs: minus and plus, of weights.
        text: for words in a stage's colour.
        others: for runs that have no colour of their own, or whose colour is taken.
    """

    stages: dict[str, Shade]
    runs: dict[str, Shade]
    signs: dict[str, Shade]
    text: dict[str, Shade]
    others: tuple[Shade, ...]

    def named(self) -> dict[str, Shade]:
        """Return every colour by the name that pictures use."""
        return {
            **self.stages,
            **self.runs,
            **self.signs,
            **self.text,
            **{f"other-{i}": shade for i, shade in enumerate(self.others)},
        }

    def assign(self, kinds: Iterable[str]) -> list[str]:
        """Return a colour's name for each run, from its kind: its own where that is free, else the next other."""
        taken: list[str] = []
        for kind in kinds:
            spare = (f"other-{i % len(self.others)}" for i in range(len(taken), len(taken) + len(self.others)))
            free = kind in self.runs and kind not in taken
            taken.append(kind if free else next((name for name in spare if name not in taken), "other-0"))
        return taken


@cache
def palette() -> Palette:
    """Return the colours of `palette.json`."""
    read = json.loads(Path(__file__).with_suffix(".json").read_text("utf-8"))
    others = tuple(tuple(pair) for pair in read.pop("others"))
    return Palette(
        **{group: {name: tuple(pair) for name, pair in found.items()} for group, found in read.items()}, others=others
    )
