"""Read the results of several computations from a device in one copy, so that the host waits once."""

from collections.abc import Generator, Sequence
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")
Reading = Generator[list[Tensor], list[Tensor], T]
"""A computation that yields the tensors which it needs on the host, is sent them, and returns what it makes of them."""


def read(computation: Reading[T]) -> T:
    """Return the result of one computation."""
    return read_all([computation])[0]


def read_all(computations: Sequence[Reading[T]]) -> list[T]:
    """Return the results of computations whose tensors travel together."""
    wanted = [next(computation) for computation in computations]
    fetched = iter(fetch([tensor for tensors in wanted for tensor in tensors]))
    results = []
    for computation, tensors in zip(computations, wanted, strict=True):
        try:
            computation.send([next(fetched) for _ in tensors])
        except StopIteration as end:
            results.append(end.value)
    assert len(results) == len(computations), "a computation yields once"
    return results


def fetch(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return tensors on the CPU; those on a device are joined there and copied at once."""
    remote = [tensor.contiguous().view(-1).view(torch.uint8) for tensor in tensors if not tensor.is_cpu]
    if not remote:
        return list(tensors)
    parts = iter(torch.cat(remote).cpu().split([len(part) for part in remote]))
    return [
        # a copy, as a part may begin where no such number can
        tensor if tensor.is_cpu else next(parts).clone().view(tensor.dtype).view(tensor.shape)
        for tensor in tensors
    ]


def number(tensor: Tensor) -> Reading[float]:
    """Read a number ()."""
    (value,) = yield [tensor]
    return float(value)
