"""Read the results of several computations from a device in one copy, so that the host waits once."""

from collections.abc import Callable, Generator, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from sds_core.pruning.lanes import side_by_side

CPU = torch.device("cpu")
T = TypeVar("T")
Reading = Generator[list[Tensor], list[Tensor], T]
"""A computation that yields the tensors which it needs on the host, is sent them, and returns what it makes of them."""


def read(computation: Reading[T]) -> T:
    """Return the result of one computation."""
    return read_all([computation])[0]


def read_all(computations: Sequence[Reading[T]], device: torch.device = CPU) -> list[T]:
    """Return the results of computations on one device, whose tensors travel together."""
    wanted = side_by_side(next, computations, device)
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


def number(compute: Callable[[], Tensor | float]) -> Reading[float]:
    """Read a number () that is computed as it is read."""
    value = compute()
    if isinstance(value, Tensor):
        (value,) = yield [value]
    else:
        yield []
    return float(value)
