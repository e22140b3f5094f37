"""Hold weights on the compute device inside a `with`; otherwise they rest on the CPU."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from sds_core.models.weight_store import WeightStore

KEPT = 256 << 20
"""Bytes of tensors that come again and again of which a device keeps its own copies."""


@contextmanager
def on_device(block: nn.Module, device: torch.device, store: WeightStore) -> Iterator[None]:
    """A block's weights are resident and on `device` inside the `with`; what is written there stays written."""
    with store.resident(block), moved(block.modules(), device):
        yield


@contextmanager
def moved(modules: Iterable[nn.Module], device: torch.device) -> Iterator[None]:
    """The modules' own parameters and buffers are copies on `device` inside the `with`.

    After it the originals are back. Only those are copied back whose copy was written to: most blocks are only run.
    """
    copies: dict[int, tuple[Tensor, int]] = {}  # by the original's identity: shared tensors are copied once
    replaced: list[tuple[dict[str, Any], str, Tensor]] = []
    try:
        for tensors, name, original in _tensors(modules):
            if id(original) not in copies:
                copy = original.detach().to(device, non_blocking=True)
                if copy.device == original.device:
                    continue
                made = nn.Parameter(copy, original.requires_grad) if isinstance(original, nn.Parameter) else copy
                copies[id(original)] = made, made._version
            replaced.append((tensors, name, original))
            tensors[name] = copies[id(original)][0]
        yield
    finally:
        for tensors, name, original in replaced:
            tensors[name] = original
        written = {id(original): original for _, _, original in replaced}
        for identity, original in written.items():
            copy, version = copies[identity]
            if copy._version != version:
                original.data.copy_(copy.detach())


def _tensors(modules: Iterable[nn.Module]) -> Iterator[tuple[dict[str, Any], str, Tensor]]:
    """Yield the dictionaries of the modules' own parameters and buffers, the names in them, and the tensors."""
    for module in modules:
        owned: tuple[dict[str, Any], ...] = (module._parameters, module._buffers)
        for tensors in owned:
            for name, tensor in list(tensors.items()):
                if tensor is not None:
                    yield tensors, name, tensor


class DeviceCopies:
    """Tensors on a device: those that are used repeatedly are copied once, as far as `KEPT` allows."""

    def __init__(self, device: torch.device):
        self.device = device
        self._copies: dict[int, tuple[Tensor, Tensor]] = {}  # with the original, whose identity must stay its own
        self._left = KEPT

    def __call__(self, tensor: Tensor) -> Tensor:
        if id(tensor) in self._copies:
            return self._copies[id(tensor)][1]
        copy = tensor.to(self.device, non_blocking=True)
        if copy is not tensor and tensor.nbytes <= self._left:
            self._copies[id(tensor)] = tensor, copy
            self._left -= tensor.nbytes
        return copy
