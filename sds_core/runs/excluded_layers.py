"""List a run's excluded layers by reason, in a table that stays short for any number of blocks."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class ExcludedLayers:
    """Layers with one reason."""

    reason: str
    count: int
    names: list[str]
    """Names that differ only in numbers are merged: `layers.0–23.mlp.gate`."""


def excluded_layers(reasons: Mapping[str, str]) -> list[ExcludedLayers]:
    """Return the layers of a run that are not pruned, most frequent reason first.

    Args:
        reasons: by full name.
    """
    by_reason: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        by_reason.setdefault(reason, []).append(name)
    found = [ExcludedLayers(reason, len(names), list(_merged(names))) for reason, names in by_reason.items()]
    return sorted(found, key=lambda layers: -layers.count)


def _merged(names: list[str]) -> Iterable[str]:
    """Merge names that differ only in numbers, if they are all the combinations of these numbers."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for name in names:
        alike.setdefault(tuple(re.split(r"\d+", name)), []).append(name)
    for words, members in alike.items():
        places = [sorted(set(map(int, place))) for place in zip(*(re.findall(r"\d+", n) for n in members), strict=True)]
        if math.prod(map(len, places)) == len(members):
            yield "".join(word + ranges for word, ranges in zip(words, [*map(_ranges, places), ""], strict=True))
        else:
            yield from members


def _ranges(numbers: list[int]) -> str:
    """Ascending numbers as `0–3,5`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(low) if low == high else f"{low}–{high}" for low, high in runs)
