"""Evaluate a model's perplexity on held-out windows, block by block."""

import math
from collections.abc import Generator

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from sds_core.errors import SDSError
from sds_core.models.logits import logits
from sds_core.models.routes import Routes, watching_routes
from sds_core.models.stream import batches, capture
from sds_core.models.structure import ModelStructure
from sds_core.pruning.perplexity import Perplexity

ROWS = 256
"""Number of tokens whose logits are cast to float32 at a time."""


def evaluate(
    structure: ModelStructure, windows: Tensor, device: torch.device, routes: Routes | None = None
) -> Generator[int, None, Perplexity]:
    """Return the perplexity on windows (n, T) of token ids; yield each block's index when it is done.

    Args:
        structure: the model.
        windows: token ids (n, T).
        device: where to compute.
        routes: gets the experts of each token, in a mixture.

    Raises:
        SDSError: a loss is not finite.
    """
    stream = capture(structure, batches(windows, device), device)
    for block in structure.blocks:
        with stream.running(block.module), watching_routes(block, stream.tokens) as found:
            stream.advance(in_this_thread=block.routed)
        if routes is not None and len(found) == len(stream.hidden):
            routes[block.index] = torch.cat(found)
        yield block.index
    parts = list(map(_losses, logits(stream, windows), windows))  # no name holds a window's logits beside the next's
    losses = [sum(of_window) / (windows.shape[1] - 1) for of_window in torch.stack(parts).tolist()]  # waits once
    for number, loss in enumerate(losses):
        if not math.isfinite(loss):
            raise SDSError(
                f"the model's loss on evaluation window {number} is not a number",
                cure="its activations overflow: load it in float32",
            )
    return Perplexity(tuple(losses), windows.shape[1] - 1)


def _losses(scores: Tensor, tokens: Tensor) -> Tensor:
    """Return the losses of one window from its logits (T, V) and tokens (T,), summed over `ROWS` tokens at a time."""
    following = tokens[1:].to(scores.device)
    parts = zip(scores[:-1].split(ROWS), following.split(ROWS), strict=True)
    return torch.stack([cross_entropy(part.float(), ids, reduction="sum") for part, ids in parts])
