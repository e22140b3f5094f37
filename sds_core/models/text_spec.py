"""How texts are named: a source, a part of one, or several blended by weight.

`SOURCE`, `SOURCE@0-50%` (of its tokens), `SOURCE@0-40960`, and `SOURCE*2+OTHER@0-50%`.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sds_core.errors import SDSError

if TYPE_CHECKING:
    from torch import Tensor

SELF = "self"
PYTHON_DOCS = "python-docs"
ALLOWED = f"{SELF}, {PYTHON_DOCS}, a .txt file, a .jsonl, .parquet or .csv FILE:COLUMN, or hub:ID:CONFIG:SPLIT:COLUMN"


@dataclass(frozen=True)
class Part:
    """A source and the part of it that is meant."""

    source: str
    start: int = 0
    stop: int | None = None
    percent: bool = False

    @classmethod
    def parse(cls, text: str) -> "Part":
        """Read `SOURCE`, `SOURCE@A-B%` or `SOURCE@A-B`."""
        match = re.fullmatch(r"(?s)(.+?)(?:@(\d{1,12})-(\d{1,12})(%?))?", text.strip())
        if not match:
            raise SDSError("no text was named", got=text, allowed=ALLOWED)
        source, start, stop, percent = match.groups()
        if start is None:
            return cls(source)
        if int(start) >= int(stop) or (percent and int(stop) > 100):
            raise SDSError("not a part of a text", got=text, allowed="SOURCE@A-B% or SOURCE@A-B with A < B")
        return cls(source, int(start), int(stop), bool(percent))

    def __str__(self) -> str:
        """As `parse` reads it."""
        return self.source if self.stop is None else f"{self.source}@{self.start}-{self.stop}{'%' * self.percent}"

    def cut(self, tokens: "Tensor") -> "Tensor":
        """This part of all tokens (n,).

        Raises:
            SDSError: it reaches beyond the end of the text.
        """
        if self.stop is None:
            return tokens
        if self.percent:
            return tokens[len(tokens) * self.start // 100 : len(tokens) * self.stop // 100]
        if self.stop > len(tokens):
            raise SDSError(
                f"the text {self.source} has no token {self.stop}", allowed=f"a part of its {len(tokens)} tokens"
            )
        return tokens[self.start : self.stop]

    def may_overlap(self, other: "Part") -> bool:
        """Whether both can hold the same token; parts in per cent and in tokens are not compared, so they may."""
        if _identity(self.source) != _identity(other.source):
            return False
        if self.stop is None or other.stop is None or self.percent != other.percent:
            return True
        return self.start < other.stop and other.start < self.stop


@dataclass(frozen=True)
class Blend:
    """Parts of texts, and the weights by which windows are drawn from them; a single text is a blend of one."""

    parts: tuple[Part, ...]
    weights: tuple[int, ...]

    @classmethod
    def parse(cls, text: str) -> "Blend":
        """Read parts joined by `+`, each with a whole weight behind `*`, which is 1 where there is none.

        Raises:
            SDSError: a part or weight is malformed, or two parts overlap.
        """
        parts, weights = list[Part](), list[int]()
        for piece in text.split("+"):
            match = re.fullmatch(r"(?s)(.*?)(?:\*(\d{1,6}))?", piece.strip())
            assert match
            weight = 1 if match[2] is None else int(match[2])
            if weight == 0 or (not match[1] and "+" in text):
                raise SDSError("not a blend of texts", got=text, allowed="SOURCE*WEIGHT+SOURCE*WEIGHT, weights from 1")
            part = Part.parse(match[1])
            if any(part.may_overlap(other) for other in parts):
                raise SDSError(f"a blend draws from {part.source} twice", got=text, cure="give it a weight: TEXT*2")
            parts.append(part)
            weights.append(weight)
        return cls(tuple(parts), tuple(weights))

    def __str__(self) -> str:
        """As `parse` reads it."""
        pairs = zip(self.parts, self.weights, strict=True)
        return "+".join(f"{part}*{weight}" if weight > 1 else str(part) for part, weight in pairs)

    def counts(self, windows: int) -> list[int]:
        """How many of some windows come from each part: the weights' exact shares rounded down, and what is left over
        given one each to the largest remainders, of equal ones to the earlier part (Hamilton's method).

        Raises:
            SDSError: a part would get none.
        """
        counts = _apportion(windows, self.weights)
        if 0 in counts:
            raise SDSError(
                f"{windows} windows are too few for the blend {self}: none comes from {self.parts[counts.index(0)]}",
                cure="ask for more windows, or make the weights more alike",
            )
        return counts


def _apportion(count: int, weights: Sequence[int]) -> list[int]:
    total = sum(weights)
    counts = [count * weight // total for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda i: -(count * weights[i] % total))
    for i in by_remainder[: count - sum(counts)]:
        counts[i] += 1
    return counts


def apart(calibration: str, evaluation: str) -> tuple[str, str]:
    """Both texts as they are used, so that no token is in both.

    A source that both name whole is halved: calibration gets its first half (`@0-50%`), evaluation the second.

    Raises:
        SDSError: one of them is not a text, or parts that were named overlap.
    """
    ours, theirs = Blend.parse(calibration), Blend.parse(evaluation)
    mine, others = list(ours.parts), list(theirs.parts)
    for i, part in enumerate(ours.parts):
        for j, other in enumerate(theirs.parts):
            if not part.may_overlap(other):
                continue
            if part.stop is not None or other.stop is not None:
                raise SDSError(
                    f"calibration and evaluation share a part of {part.source}",
                    got=f"{part} and {other}",
                    cure=f"name parts that do not overlap, such as {part.source}@0-50% and {part.source}@50-100%",
                )
            mine[i] = replace(part, start=0, stop=50, percent=True)
            others[j] = replace(other, start=50, stop=100, percent=True)
    return str(replace(ours, parts=tuple(mine))), str(replace(theirs, parts=tuple(others)))


def _identity(source: str) -> str:
    """The same for two names of one text: paths are resolved, and what is left out is filled in."""
    if source in (SELF, PYTHON_DOCS) or "\0" in source:
        return source
    if source.startswith("hub:"):
        fields = source.split(":")
        return ":".join([*fields[:3], fields[3] or "train", *fields[4:]]) if len(fields) > 3 else source
    path, column = file_and_column(source)
    return f"{os.path.realpath(os.path.expanduser(path))}:{column}"


TABLES = {".jsonl": "json", ".parquet": "parquet", ".csv": "csv"}
"""File endings of tables, and what the data sets library calls their kinds."""


def file_and_column(source: str) -> tuple[str, str]:
    """A file's path and the column that holds its text: `FILE:COLUMN`, or `FILE` with the column `text`."""
    endings = "|".join(map(re.escape, TABLES))
    match = re.fullmatch(rf"(?s)(.+?(?:{endings})):(.+)", source)
    return (match[1], match[2]) if match else (source, "text")
