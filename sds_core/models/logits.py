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
            state = final[None].to(device) if block.index == last else split_arguments(structure, args, kwargs)[0]
            return structure.wrap(state)

        with replaced_forwards(structure, insert_final):
            return structure.model(tokens[None].to(device), use_cache=False).logits[0]

    states = (state for batch in stream.hidden for state in batch)
    with moved(non_block, device):
        yield from map(of_window, windows, states)
