"""Perplexity from the losses of windows, and paired comparison of two models on the same windows."""

import math
import statistics
from dataclasses import dataclass


@dataclass(frozen=True)
class Perplexity:
    """What a model makes of held-out windows, each predicted from its own start."""

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
    """How much worse or better one model predicts the same windows than another."""

    log_ratio: float
    """Mean over windows of the difference in loss: log of the ratio of perplexities; negative is better."""
    error: float
    """Paired standard error of `log_ratio` over windows."""

    @property
    def ratio(self) -> float:
        """Ratio of perplexities; below 1 is better."""
        return math.exp(self.log_ratio) if self.log_ratio < 700 else math.inf

    @property
    def sure(self) -> bool:
        """Whether the difference is more than two standard errors, so that chance windows hardly explain it."""
        return abs(self.log_ratio) > 2 * self.error


def compare(model: Perplexity, reference: Perplexity) -> Comparison:
    """Paired comparison on the same windows; the standard error needs at least two."""
    assert len(model.losses) == len(reference.losses) and model.tokens == reference.tokens
    differences = [mine - other for mine, other in zip(model.losses, reference.losses, strict=True)]
    count = len(differences)
    error = statistics.stdev(differences) / math.sqrt(count) if count > 1 else math.nan
    return Comparison(math.fsum(differences) / count, error)
