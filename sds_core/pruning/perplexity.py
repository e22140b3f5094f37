"""Perplexity from the losses of windows, paired comparison of two models on the same windows, and how both are written.

Every page, table and file writes perplexities and ratios with the functions here, so all give the same digits.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

LARGEST_LOG = 600.0
"""Log ratios are capped here before `exp`, which overflows at 709."""
REACH = 2
"""Standard errors to either side that an interval spans; a difference counts only beyond them."""


@dataclass(frozen=True)
class Perplexity:
    """A model's losses on held-out windows, each predicted from its own start."""

    losses: tuple[float, ...]
    """Mean negative log likelihood of each window, nats per predicted token."""
    tokens: int
    """Predicted tokens per window: its length less one."""

    @property
    def value(self) -> float:
        """exp of the mean loss over all tokens (all windows are equally long)."""
        mean = math.fsum(self.losses) / len(self.losses)
        return math.exp(mean) if mean < 700 else math.inf


@dataclass(frozen=True)
class Comparison:
    """The ratio of two models' perplexities on the same windows."""

    log_ratio: float
    """Mean over windows of the difference in loss: log of the ratio of perplexities; negative is better."""
    error: float
    """Paired standard error of `log_ratio` over windows."""

    @property
    def ratio(self) -> float:
        """Ratio of perplexities; below 1 is better."""
        return bounded_exp(self.log_ratio)

    @property
    def interval(self) -> tuple[float, float]:
        """The ratio two standard errors below and above."""
        reach = REACH * self.error
        return bounded_exp(self.log_ratio - reach), bounded_exp(self.log_ratio + reach)

    @property
    def sure(self) -> bool:
        """Whether 1 lies outside that interval; with an unknown error nothing is sure."""
        return abs(self.log_ratio) > REACH * self.error


def compare(model: Perplexity, reference: Perplexity) -> Comparison:
    """Paired comparison on the same windows; the standard error needs at least two."""
    assert len(model.losses) == len(reference.losses) and model.tokens == reference.tokens
    differences = [loss - base for loss, base in zip(model.losses, reference.losses, strict=True)]
    count = len(differences)
    error = statistics.stdev(differences) / math.sqrt(count) if count > 1 else math.nan
    return Comparison(math.fsum(differences) / count, error)


def mean_over_runs(measured: Sequence[Perplexity]) -> Perplexity:
    """The mean loss of several models on each window; its value is the geometric mean of their perplexities."""
    windows = zip(*(perplexity.losses for perplexity in measured), strict=True)
    return Perplexity(tuple(map(statistics.fmean, windows)), measured[0].tokens)


def bounded_exp(log_ratio: float) -> float:
    """exp, finite for any log ratio."""
    return math.exp(min(log_ratio, LARGEST_LOG))


def format_perplexity(value: float) -> str:
    """A perplexity with two decimals, or as a power of ten from a million on."""
    return f"{value:,.2f}" if value < 1e6 else f"{value:.2e}"


def format_ratio(log_ratio: float, *errors: float | None) -> str:
    """A ratio of perplexities and its standard errors, as `ratio_parts` writes them: 0.467 ± 0.007."""
    return " ± ".join(ratio_parts(log_ratio, *errors))


def ratio_parts(log_ratio: float, *errors: float | None) -> list[str]:
    """A ratio of perplexities and each of its standard errors with three decimals.

    Args:
        log_ratio: log of the ratio.
        errors: standard errors of `log_ratio`; an unknown one, None or NaN, is written as a question mark.
    """
    ratio = bounded_exp(log_ratio)
    digits = ".3f" if ratio < 1e6 else ".1e"
    known = [None if error is None or math.isnan(error) else error for error in errors]
    return [f"{ratio:{digits}}", *("?" if error is None else f"{ratio * error:{digits}}" for error in known)]
