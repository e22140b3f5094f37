"""A model's logits from hidden states that have passed its blocks, window by window."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from sds_core.models.placement import moved
from sds_core.models.stream import Stream, replaced_forwards, split_arguments
from sds_core.models.structure import Block

Result = TypeVar("Result")


def logits(stream: Stream, windows: Tensor) -> list[Tensor]:
    """Return the model's logits (T, V) for every window (n, T), from a stream behind the last block."""
    return reduced_logits(stream, windows, lambda scores, _: scores)


def reduced_logits(stream: Stream, windows: Tensor, reduce: Callable[[Tensor, Tensor], Result]) -> list[Result]:
    """Return what a function makes of the logits (T, V) and the tokens (T,) of each window (n, T).

    Args:
        stream: behind the last block.
        windows: of the stream, in order.
        reduce: called in inference mode, window by window.
    """
    structure, device = stream.structure, stream.device
    assert stream.position == len(structure.blocks)
    last = len(structure.blocks) - 1
    inside = {module for block in structure.blocks for module in block.module.modules()}
    non_block = [module for module in structure.model.modules() if module not in inside]
    final: Tensor

    def insert_final(block: Block, args: tuple, kwargs: dict[str, Any]) -> Any:
        return structure.wrap(final if block.index == last else split_arguments(structure, args, kwargs)[0])

    found = []
    with moved(non_block, device), replaced_forwards(structure, insert_final), torch.inference_mode():
        for batch, hidden in zip(windows.split(len(stream.hidden[0])), stream.hidden, strict=True):
            for tokens, row in zip(batch, hidden, strict=True):
                final = row[None].to(device)
                # one window at a time: logits are large, and their one wide product keeps all cores busy by itself
                found.append(reduce(structure.model(tokens[None].to(device), use_cache=False).logits[0], tokens))
    return found
