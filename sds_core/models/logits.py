"""A model's logits from hidden states that have passed its blocks, window by window."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from sds_core.models.placement import moved
from sds_core.models.stream import Stream, replaced_forwards, split_arguments
from sds_core.models.structure import Block


def logits(stream: Stream, windows: Tensor) -> Iterator[Tensor]:
    """Yield the model's logits (T, V) window (n, T) by window, from a stream behind the last block.

    One window at a time: logits are large, and their one wide product keeps all cores busy by itself.
    """
    structure, device = stream.structure, stream.device
    assert stream.position == len(structure.blocks)
    last = len(structure.blocks) - 1
    inside = {module for block in structure.blocks for module in block.module.modules()}
    non_block = [module for module in structure.model.modules() if module not in inside]

    @torch.inference_mode()
    def of_window(tokens: Tensor, final: Tensor) -> Tensor:
        def insert_final(block: Block, args: tuple, kwargs: dict[str, Any]) -> Any:
            state = final.to(device) if block.index == last else split_arguments(structure, args, kwargs)[0]
            return structure.wrap(state)

        with replaced_forwards(structure, insert_final):
            return structure.model(tokens[None].to(device), use_cache=False).logits[0]

    with moved(non_block, device):
        yield from map(of_window, windows, _window_by_window(stream, windows.shape[1]))


def _window_by_window(stream: Stream, length: int) -> Iterator[Tensor]:
    """Yield the hidden states (1, T, C) of each window of T tokens, which may stand in batches.

    Families with several hidden states for each token stack them first, (n, B, T, C), or behind, (B, T, n, C).
    """
    for states, tokens in zip(stream.hidden, stream.tokens, strict=True):
        batch = (tokens // length, length)
        place = next(place for place in range(states.ndim) if tuple(states.shape[place : place + 2]) == batch)
        yield from states.split(1, place)
