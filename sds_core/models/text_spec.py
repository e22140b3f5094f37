"""How texts are named: a source, a part of one, or a mixture of several.

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

BOS_MODES = ("window", "text", "none")
"""Where a tokenizer's start tokens go: before every window, before the whole text, or nowhere."""
ROW_MODES = ("stripped", "whole")
"""Rows of a text without their line ends, or as they are."""
SELF = "self"
PYTHON_DOCS = "python-docs"
DEFAULT_CONFIG = "default"
"""What data sets call a configuration that has no name of its own; an empty field of a hub name means it too."""
TABLES = (".jsonl", ".parquet", ".csv")
"""Name endings of tables."""
ALLOWED = f"{SELF}, {PYTHON_DOCS}, a .txt file, a .jsonl, .parquet or .csv FILE:COLUMN, or hub:ID:CONFIG:SPLIT:COLUMN"
_TABLE = "|".join(map(re.escape, TABLES))
_SOURCE = re.compile(rf"(?s){SELF}|{PYTHON_DOCS}|hub:.*|[^+].*(?:\.txt|(?:{_TABLE})(?::.+)?)")
_PART = re.compile(r"(?s)(.+?)(?:@(\d{1,12})-(\d{1,12})(%?))?")
_WEIGHTED = re.compile(r"(?s)(.*?)(?:\*(\d{1,6}))?")


def unwritten(model: str) -> SDSError:
    """Return the error of a model that has not written the text that it shall be calibrated on."""
    return SDSError(
        f"the model {model} has not written any calibration text yet",
        cure="choose another text, such as python-docs, or let it write one (minutes): "
        f"python -m sds_core write-text --model {model}",
    )


@dataclass(frozen=True)
class TextPart:
    """A source, or a range of its tokens."""

    source: str
    start: int = 0
    stop: int | None = None
    """End of the range, exclusive; None for the whole source."""
    percent: bool = False
    """Whether the range is in per cent of the tokens, not in tokens."""

    @classmethod
    def parse(cls, text: str) -> "TextPart":
        """Read `SOURCE`, `SOURCE@A-B%` or `SOURCE@A-B`.

        Raises:
            SDSError: there is no source, or the range is empty or beyond 100 %.
        """
        match = _PART.fullmatch(text.strip())
        if not match:
            raise SDSError("no text was named", got=text, allowed=ALLOWED)
        source, start, stop, percent = match.groups()
        if start is None:
            return cls(source)
        if int(start) >= int(stop) or (percent and int(stop) > 100):
            raise SDSError("not a part of a text", got=text, allowed="SOURCE@A-B% or SOURCE@A-B with A < B")
        return cls(source, int(start), int(stop), bool(percent))

    def __str__(self) -> str:
        """The form that `parse` reads."""
        return self.source if self.stop is None else f"{self.source}@{self.start}-{self.stop}{'%' * self.percent}"

    def cut(self, tokens: "Tensor") -> "Tensor":
        """Return this part of all tokens (n,).

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

    def is_of_one_source(self, other: "TextPart") -> bool:
        """Whether both name the same source."""
        return _identity(self.source) == _identity(other.source)

    def may_overlap(self, other: "TextPart") -> bool:
        """Whether both may hold the same token; a range in per cent and one in tokens are not compared, so they may."""
        if not self.is_of_one_source(other):
            return False
        if self.stop is None or other.stop is None or self.percent != other.percent:
            return True
        return self.start < other.stop and other.start < self.stop


@dataclass(frozen=True)
class TextSpec:
    """A mixture of texts: its parts, and the weights by which windows are drawn from them. Often there is one part."""

    parts: tuple[TextPart, ...]
    weights: tuple[int, ...]

    @classmethod
    def parse(cls, text: str) -> "TextSpec":
        """Read parts joined by `+`, each with a whole weight behind `*`, by default 1.

        Raises:
            SDSError: a part or weight is malformed, or two parts overlap.
        """
        parts, weights = list[TextPart](), list[int]()
        for piece in _split(text):
            match = _WEIGHTED.fullmatch(piece.strip())
            assert match
            weight = 1 if match[2] is None else int(match[2])
            if weight == 0 or (not match[1] and "+" in text):
                raise SDSError(
                    "not a mixture of texts", got=text, allowed="SOURCE*WEIGHT+SOURCE*WEIGHT with weights from 1"
                )
            part = TextPart.parse(match[1])
            if any(part.may_overlap(other) for other in parts):
                raise SDSError(f"a mixture names {part.source} twice", got=text, cure="give it a weight: TEXT*2")
            parts.append(part)
            weights.append(weight)
        return cls(tuple(parts), tuple(weights))

    @property
    def has_own(self) -> bool:
        """Whether a part of it is text that the model writes itself."""
        return any(part.source == SELF for part in self.parts)

    def __str__(self) -> str:
        """The form that `parse` reads."""
        pairs = zip(self.parts, self.weights, strict=True)
        return "+".join(f"{part}*{weight}" if weight > 1 else str(part) for part, weight in pairs)

    def counts(self, windows: int) -> list[int]:
        """Share a number of windows among the parts by largest remainder; of equal remainders the earlier part wins.

        Raises:
            SDSError: a part would get none.
        """
        counts = self.shares(windows)
        if 0 in counts:
            raise SDSError(
                f"{windows} windows are too few for the mixture {self}: none from {self.parts[counts.index(0)]}",
                cure="ask for more windows, or make the weights more alike",
            )
        return counts

    def shares(self, windows: int) -> list[int]:
        """The same where a part may get none."""
        return _apportion(windows, self.weights)


def _split(text: str) -> list[str]:
    """Split a mixture at each `+` that is not part of a path or a column's name."""
    pieces = list[str]()
    for piece in text.split("+"):
        if pieces and pieces[-1].strip() and not _is_source(pieces[-1]):
            pieces[-1] += f"+{piece}"
        else:
            pieces.append(piece)
    if len(pieces) > 1 and not _is_source(pieces[-1]) and ":" in pieces[-2]:
        pieces[-2:] = ["+".join(pieces[-2:])]
    return pieces if all(map(_is_source, pieces)) else text.split("+")


def _is_source(piece: str) -> bool:
    """Whether a piece of a mixture is a source by its form, with its range and weight."""
    weighted = _WEIGHTED.fullmatch(piece.strip())
    part = _PART.fullmatch(weighted[1].strip()) if weighted else None
    return part is not None and _SOURCE.fullmatch(part[1]) is not None


def _apportion(count: int, weights: Sequence[int]) -> list[int]:
    total = sum(weights)
    counts = [count * weight // total for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda i: -(count * weights[i] % total))
    for i in by_remainder[: count - sum(counts)]:
        counts[i] += 1
    return counts


def disjoint(calibration: str, evaluation: str, rows: str = "stripped") -> tuple[str, str]:
    """Return both texts narrowed so that they share no token.

    A source that both name whole is halved: calibration gets its first half (`@0-50%`), evaluation the second.

    Args:
        calibration: its rows are stripped.
        evaluation: the other text.
        rows: its rows, one of `ROW_MODES`.

    Raises:
        SDSError: one of them is not a text, parts that were named overlap, or, with whole rows, both name one source.
    """
    first, second = TextSpec.parse(calibration), TextSpec.parse(evaluation)
    first_parts, second_parts = list(first.parts), list(second.parts)
    for i, part in enumerate(first.parts):
        for j, other in enumerate(second.parts):
            if rows == "whole" and part.source not in (SELF, PYTHON_DOCS) and part.is_of_one_source(other):
                raise SDSError(
                    f"calibration and evaluation share {part.source}, of which whole rows have other tokens, so its "
                    "parts would overlap",
                    got=f"{part} and {other}",
                    cure="take two texts, or --eval-rows stripped",
                )
            if not part.may_overlap(other):
                continue
            if part.stop is not None or other.stop is not None:
                raise SDSError(
                    f"calibration and evaluation share a part of {part.source}",
                    got=f"{part} and {other}",
                    cure=f"name parts that do not overlap, such as {part.source}@0-50% and {part.source}@50-100%",
                )
            first_parts[i] = replace(part, start=0, stop=50, percent=True)
            second_parts[j] = replace(other, start=50, stop=100, percent=True)
    return str(replace(first, parts=tuple(first_parts))), str(replace(second, parts=tuple(second_parts)))


def same_text(text: str) -> str:
    """Return one form for all names of a text."""
    spec = TextSpec.parse(text)
    return str(replace(spec, parts=tuple(replace(part, source=_identity(part.source)) for part in spec.parts)))


def _identity(source: str) -> str:
    """One form for all names of a source: paths resolved, defaults filled in."""
    if source in (SELF, PYTHON_DOCS) or "\0" in source:
        return source
    if source.startswith("hub:"):
        fields = source.split(":")
        if len(fields) < 4:
            return source
        hub, name, config, split, *rest = fields
        return ":".join([hub, name, "" if config == DEFAULT_CONFIG else config, split or "train", *rest])
    path, column = file_and_column(source)
    return f"{os.path.realpath(os.path.expanduser(path))}:{column}"


def file_and_column(source: str) -> tuple[str, str]:
    """A file's path and the column that holds its text: `FILE:COLUMN`, or `FILE` with the column `text`."""
    match = re.fullmatch(rf"(?s)(.+?(?:{_TABLE})):(.+)", source)
    return (match[1], match[2]) if match else (source, "text")
