"""Compare a model's size with free memory: decide whether the weights of its blocks rest on disk."""

from collections.abc import Iterable
from pathlib import Path

import torch
from transformers import PreTrainedModel

from sds_core.errors import SDSError
from sds_core.models.free_memory import free_memory
from sds_core.models.weight_store import stored_blocks

WORK = 64
"""Working memory for pruning a block, bytes per weight: copies, Gram matrices, solvers, statistics.

Highest in `benchmarks/large.py`: 18 for a base pruner, 49 for `sds-admm`, 63 with block reconstruction.
"""


def rest_on_disk(weights: str, source: Path, skeleton: PreTrainedModel, copies: int, converted: bool = False) -> bool:
    """Whether the weights of the blocks rest on disk between uses.

    Args:
        weights: `memory`; `disk`; or `auto`: memory if it has room for the weights and for work.
        source: the model's folder or file, for messages.
        skeleton: the model on `meta`.
        copies: how many copies of the weights there will be in memory.
        converted: whether it is loaded to be converted, which needs it whole in memory whatever a run asks for.

    Raises:
        SDSError: memory is too small even so.
    """
    whole = _bytes(skeleton.parameters())
    blocks = [parameters.values() for _, parameters in stored_blocks(skeleton)]
    sizes = [_bytes(parameters) for parameters in blocks]
    non_block, largest = whole - sum(sizes), max(sizes, default=0)
    work = WORK * max((sum(parameter.numel() for parameter in parameters) for parameters in blocks), default=0)
    available = free_memory()
    on_disk = weights == "disk" or (weights == "auto" and copies * whole + work > available)
    needed = non_block + largest if on_disk else whole
    if needed > available:
        even_so = ", even with the weights of its blocks on disk" if on_disk else ""
        raise SDSError(
            f"the model in {source} needs {needed >> 20} MB of memory, {available >> 20} MB are available{even_so}",
            cure="take a smaller model, or check the sizes in its config.json"
            + ("" if on_disk or converted else "; a run can leave weights on disk: --weights disk"),
        )
    return on_disk


def _bytes(parameters: Iterable[torch.nn.Parameter]) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in parameters)
