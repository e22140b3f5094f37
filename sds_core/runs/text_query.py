"""A query put to a model and to what runs made of it, and the result: plain values that keep in a file."""

from __future__ import annotations

import shlex
import statistics
from dataclasses import dataclass
from pathlib import Path

from sds_core.errors import SDSError

EXAMPLE = Path(__file__).parents[1] / "assets" / "example-text.json"
"""The shipped result of a query to the example runs: the page has something to show at once."""
MOST_RUNS, MOST_CHARACTERS, MOST_FOLLOWING = 4, 1000, 200


@dataclass(frozen=True, kw_only=True)
class TextQuery:
    """What is asked."""

    runs: tuple[str, ...]
    """Ids of finished runs of one model whose weights were kept; the dense model is asked too, before them."""
    prompt: str
    """The text that is read and gone on with, as it stands: no chat template."""
    tokens: int = 40
    """At most so many tokens follow."""

    def __post_init__(self) -> None:
        if not 1 <= len(set(self.runs)) == len(self.runs) <= MOST_RUNS:
            raise SDSError(
                "the number of runs is out of range", got=len(self.runs), allowed=f"1 to {MOST_RUNS} different ones"
            )
        if not self.prompt.strip():
            raise SDSError("there is no text to read", cure="type a few words")
        if len(self.prompt) > MOST_CHARACTERS:
            raise SDSError(f"the text has {len(self.prompt)} characters", allowed=f"{MOST_CHARACTERS} at most")
        if any("\ud800" <= character <= "\udfff" or character == "\0" for character in self.prompt):
            raise SDSError("the text holds something that is no character", cure="type it anew")
        if not 1 <= self.tokens <= MOST_FOLLOWING:
            raise SDSError(
                "the number of tokens that follow is out of range", got=self.tokens, allowed=f"1 to {MOST_FOLLOWING}"
            )

    def command(self) -> str:
        """The command line that asks the same."""
        words = ["python", "-m", "sds_core", "text", *self.runs, f"--prompt={self.prompt}"]
        return shlex.join(words if self.tokens == TextQuery.tokens else [*words, f"--tokens={self.tokens}"])


@dataclass(frozen=True, kw_only=True)
class TextReading:
    """What one model made of the text."""

    name: str
    """What to call it: `dense`, or a run's method and pruner."""
    weights: str
    """Digest of the run's weights; empty for the dense model."""
    losses: tuple[float, ...]
    """Loss in nats of every token of the text but the first."""
    continuation: tuple[str, ...]
    """What follows, token by token: the likeliest one each time."""

    @property
    def mean(self) -> float:
        """Mean loss, nats; 0 for a text of one token, which nothing comes before."""
        return statistics.fmean(self.losses or [0.0])

    def above(self, dense: TextReading) -> list[float]:
        """How much more each token surprised this model than the dense one, nats."""
        return [mine - its for mine, its in zip(self.losses, dense.losses, strict=True)]

    def agreed(self, dense: TextReading) -> int:
        """So many tokens of the continuation are the dense model's too, before the first that is not."""
        pairs = zip(self.continuation, dense.continuation, strict=False)
        shortest = min(len(self.continuation), len(dense.continuation))
        return next((i for i, (mine, its) in enumerate(pairs) if mine != its), shortest)


@dataclass(frozen=True, kw_only=True)
class TextResult:
    """What came out: readings of the same tokens, the dense model's first."""

    model: str
    prompt: str
    tokens: int
    pieces: tuple[str, ...]
    """The text, token by token."""
    readings: tuple[TextReading, ...]


def table(result: TextResult) -> str:
    """An result as plain text: the losses token by token, and how each model goes on."""
    dense, *others = result.readings
    width = max(len(reading.name) for reading in result.readings) + 2
    lines = [f"{'loss of each token, nats':<26}" + "".join(f"{reading.name:>{width}}" for reading in result.readings)]
    for i, piece in enumerate(result.pieces):
        cells = [f"{reading.losses[i - 1]:.3f}" if i else "" for reading in result.readings]
        lines.append(f"{piece!r:<26}" + "".join(f"{cell:>{width}}" for cell in cells))
    means = [f"{reading.mean:.3f}" for reading in result.readings]
    lines.append(f"{'mean':<26}" + "".join(f"{mean:>{width}}" for mean in means))
    above = ["", *(f"{other.mean - dense.mean:+.3f}" for other in others)]
    lines.append(f"{'mean, above dense':<26}" + "".join(f"{cell:>{width}}" for cell in above))
    for reading in result.readings:
        lines += ["", f"{reading.name} goes on, greedily:", "".join(reading.continuation)]
    return "\n".join(line.rstrip() for line in lines)
