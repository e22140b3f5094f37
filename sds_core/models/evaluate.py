"""Evaluate a model's perplexity on held-out windows, block by block."""

import math
from collections.abc import Generator

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from sds_core.errors import SDSError
from sds_core.models.stream import batches, capture, logits
from sds_core.models.structure import ModelStructure
from sds_core.pruning.perplexity import Perplexity

ROWS = 256
"""Number of tokens whose logits are cast to float32 at a time."""


def evaluate(structure: ModelStructure, windows: Tensor, device: torch.device) -> Generator[int, None, Perplexity]:
    """Return the perplexity on windows (n, T) of token ids; yield each block's index when it is done.

    Raises:
        SDSError: a loss is not finite.
    """
    stream = capture(structure, batches(windows, device), device)
    for block in structure.blocks:
        stream.advance()
        yield block.index
    losses = []
    for number, (scores, tokens) in enumerate(zip(logits(stream, windows), windows, strict=True)):
        losses.append(_loss(scores, tokens))
        if not math.isfinite(losses[-1]):
            raise SDSError(
                f"the model's loss on evaluation window {number} is not a number",
                cure="its activations overflow: load it in float32",
            )
    return Perplexity(tuple(losses), windows.shape[1] - 1)


def _loss(scores: Tensor, tokens: Tensor) -> float:
    """Mean loss of one window from its logits (T, V) and tokens (T,)."""
    total, following = 0.0, tokens[1:].to(scores.device)
    for start in range(0, len(tokens) - 1, ROWS):
        stop = min(start + ROWS, len(tokens) - 1)
        part = cross_entropy(scores[start:stop].float(), following[start:stop], reduction="sum")
        total += float(part)
    return total / (len(tokens) - 1)
