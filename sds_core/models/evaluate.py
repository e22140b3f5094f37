"""A model's losses over held-out windows, block by block."""

from collections.abc import Generator

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from sds_core.maths.perplexity import Perplexity
from sds_core.models.blocks import Anatomy
from sds_core.models.stream import capture, logits

ROWS = 256  # logits of this many tokens are turned into float32 losses at a time


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
