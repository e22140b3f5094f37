"""A text query to a dense model and the models of finished runs, and its result, as typed values in a file."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sds_core.errors import SDSError
from sds_core.options import is_unicode
from sds_core.pruning.perplexity import Comparison

EXAMPLE = Path(__file__).parents[1] / "assets" / "example-text.json"
"""The shipped result of a query to the example runs: the page has something to show at once."""
MOST_RUNS, MOST_PROMPTS, MOST_CHARACTERS, MOST_FOLLOWING = 4, 8, 1000, 200
COLDEST, HOTTEST = 0.01, 2.0
"""Limits of the sampling temperature: below, single precision overflows and sampling is greedy anyway."""


@dataclass(frozen=True, kw_only=True)
class TextQuery:
    """A text query."""

    runs: tuple[str, ...]
    """Ids of finished runs of one model whose weights were kept; the dense model is queried first."""
    prompts: tuple[str, ...]
    """The texts to read and continue, verbatim: no chat template."""
    tokens: int = 40
    """Maximum number of new tokens after each prompt."""
    temperature: float | None = None
    """Temperature of a sampled continuation besides the greedy one; None for none."""
    sampling_seed: int = 0
    """Of that continuation."""

    def __post_init__(self) -> None:
        if not 1 <= len(set(self.runs)) == len(self.runs) <= MOST_RUNS:
            raise SDSError(
                "the number of runs is out of range", got=len(self.runs), allowed=f"1 to {MOST_RUNS} different ones"
            )
        if not self.prompts:
            raise _no_text()
        if len(self.prompts) > MOST_PROMPTS:
            raise SDSError("there are too many prompts", got=len(self.prompts), allowed=f"{MOST_PROMPTS} at most")
        for prompt in self.prompts:
            _check_prompt(prompt)
        if not 1 <= self.tokens <= MOST_FOLLOWING:
            raise SDSError(
                "the number of tokens that follow is out of range", got=self.tokens, allowed=f"1 to {MOST_FOLLOWING}"
            )
        if self.temperature is not None and not COLDEST <= self.temperature <= HOTTEST:
            raise SDSError(
                "the temperature is out of range", got=self.temperature, allowed=f"{COLDEST:g} to {HOTTEST:g}, or none"
            )
        if not 0 <= self.sampling_seed < 2**63:
            raise SDSError("the seed of sampling is out of range", got=self.sampling_seed, allowed="0 or more")

    def command(self) -> str:
        """The command line that asks the same."""
        words = ["python", "-m", "sds_core", "text", *self.runs, *(f"--prompt={prompt}" for prompt in self.prompts)]
        if self.tokens != TextQuery.tokens:
            words.append(f"--tokens={self.tokens}")
        if self.temperature is not None:
            words += [f"--temperature={self.temperature:g}", f"--sampling-seed={self.sampling_seed}"]
        return shlex.join(words)


def _check_prompt(prompt: str) -> None:
    if not prompt.strip():
        raise _no_text()
    if len(prompt) > MOST_CHARACTERS:
        raise SDSError(f"the text has {len(prompt)} characters", allowed=f"{MOST_CHARACTERS} at most")
    if "\0" in prompt or not is_unicode(prompt):
        raise SDSError("the text contains an invalid character", cure="type it again")


def _no_text() -> SDSError:
    return SDSError("there is no text to read", cure="type a few words")


@dataclass(frozen=True, kw_only=True)
class PromptReading:
    """One model's reading of one prompt."""

    losses: tuple[float, ...]
    """Loss in nats of every token but the first."""
    continuation: tuple[str, ...]
    """The greedy continuation, token by token."""
    sampled: tuple[str, ...] | None = None
    """The sampled continuation, token by token; None without a temperature."""

    @property
    def mean(self) -> float:
        """Mean loss, nats; 0 for a text of one token, which has no context."""
        return math.fsum(self.losses) / max(len(self.losses), 1)

    def above(self, dense: PromptReading) -> list[float]:
        """How much more each token surprised this model than the dense one, nats."""
        return [loss - base for loss, base in zip(self.losses, dense.losses, strict=True)]

    def agreed(self, dense: PromptReading) -> int:
        """Return how many tokens of the continuation agree with the dense model's before the first difference."""
        pairs = zip(self.continuation, dense.continuation, strict=False)
        shortest = min(len(self.continuation), len(dense.continuation))
        return next((i for i, (token, base) in enumerate(pairs) if token != base), shortest)


@dataclass(frozen=True, kw_only=True)
class TextReading:
    """One model's reading of all prompts."""

    name: str
    """Name of the model: `dense`, or the method that made the run's weights."""
    weights: str
    """Digest of the run's weights; empty for the dense model."""
    configuration: str
    """Name of its configuration without the seed: readings that share it differ in the seed alone."""
    kind: str = ""
    """The option's name of its method, or of the base pruner that is alone; empty for the dense model."""
    seed: int
    """Calibration seed; 0 for the dense model."""
    pruned: bool
    """Whether its weights are pruned; dense and re-dense models are not ranked."""
    distilled: bool = False
    """Whether it was distilled after pruning; it is ranked among such models only."""
    prompts: tuple[PromptReading, ...]

    @property
    def mean(self) -> float:
        """Mean loss over the tokens of all prompts, nats."""
        losses = [loss for prompt in self.prompts for loss in prompt.losses]
        return math.fsum(losses) / max(len(losses), 1)


@dataclass(frozen=True, kw_only=True)
class TextResult:
    """The result of a query: readings of the same tokens, the dense model's first."""

    model: str
    prompts: tuple[str, ...]
    tokens: int
    temperature: float | None = None
    sampling_seed: int = 0
    pieces: tuple[tuple[str, ...], ...]
    """Every prompt, token by token."""
    readings: tuple[TextReading, ...]


def compare_readings(mine: Sequence[TextReading], reference: Sequence[TextReading]) -> Comparison:
    """Return the mean loss difference over all tokens of the prompts, and its paired standard error over prompts.

    Prompts are the units that are drawn, and have different lengths, so the mean is a ratio of totals, and its error
    that of a ratio: √(P/(P−1) · Σ (d_p − r·n_p)²) / Σ n_p for P prompts of n_p tokens whose differences sum to d_p,
    with r the mean (Cochran, Sampling Techniques, 6.4). It needs at least two prompts.

    Args:
        mine, reference: readings of the same prompts; several of one configuration are averaged token by token.
    """
    counts = [len(prompt.losses) for prompt in mine[0].prompts]
    totals = [_total(mine, p) - _total(reference, p) for p in range(len(counts))]
    tokens, units = sum(counts), len(counts)
    mean = math.fsum(totals) / max(tokens, 1)
    if units < 2 or not tokens:
        return Comparison(mean, math.nan)
    squares = math.fsum((total - mean * count) ** 2 for total, count in zip(totals, counts, strict=True))
    return Comparison(mean, math.sqrt(units / (units - 1) * squares) / tokens)


def _total(readings: Sequence[TextReading], prompt: int) -> float:
    """Return the sum of a prompt's losses, the mean over readings."""
    return math.fsum(math.fsum(reading.prompts[prompt].losses) for reading in readings) / len(readings)
