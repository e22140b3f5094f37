"""Perplexity over non-overlapping windows, and paired comparison of two models on the same windows."""

import math
from collections.abc import Generator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from sds_core.models.blocks import Anatomy
from sds_core.models.stream import capture, logits

ROWS = 256  # logits of this many tokens are turned into float32 losses at a time


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
        return math.exp(self.log_ratio)


def compare(model: Perplexity, reference: Perplexity) -> Comparison:
    """Paired comparison on the same windows; the standard error needs at least two."""
    assert len(model.losses) == len(reference.losses) and model.tokens == reference.tokens
    differences = torch.tensor(model.losses, dtype=torch.float64) - torch.tensor(reference.losses, dtype=torch.float64)
    count = len(differences)
    error = float(differences.std()) / math.sqrt(count) if count > 1 else math.nan
    return Comparison(float(differences.mean()), error)


def evaluate(anatomy: Anatomy, windows: Tensor, device: torch.device) -> Generator[int, None, Perplexity]:
    """Perplexity on windows (n, T) of token ids, block by block; yields each block's index when it is done."""
    stream = capture(anatomy, windows, device)
    for block in anatomy.blocks:
        stream.advance()
        yield block.index
    losses = [_loss(scores, tokens) for scores, tokens in zip(logits(stream, windows), windows, strict=True)]
    return Perplexity(tuple(losses), windows.shape[1] - 1)


def _loss(scores: Tensor, tokens: Tensor) -> float:
    """Mean loss of one window from its logits (T, V) and tokens (T,)."""
    total, following = 0.0, tokens[1:].to(scores.device)
    for start in range(0, len(tokens) - 1, ROWS):
        stop = min(start + ROWS, len(tokens) - 1)
        part = cross_entropy(scores[start:stop].float(), following[start:stop], reduction="sum")
        total += float(part)
    return total / (len(tokens) - 1)
