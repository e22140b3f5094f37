"""Compute the linear layers of a float32 model in bfloat16, on processors that multiply it several times faster.

Only the products change: their inputs and weights are rounded for the time of a forward pass, sums are float32 inside
the product, and residuals, norms and attention stay as they are.
"""

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers.pytorch_utils import Conv1D

from sds_core.files import cache_folder, make_folder, write_json
from sds_core.models.device import machine, synchronise

WORTH = 1.3
"""Products in bfloat16 are used if they are this many times as fast, rounding included."""
TRIALS = 7
PRODUCTS = (nn.Linear.forward, Conv1D.forward)


@contextmanager
def bfloat16_products(block: nn.Module) -> Iterator[None]:
    """A block's linear modules in float32 compute in bfloat16 inside the `with`; those that do already are left."""
    modules = [
        module
        for module in block.modules()
        if isinstance(module, nn.Linear | Conv1D)
        and type(module).forward in PRODUCTS  # some routers are linears that return more
        and module.weight.dtype == torch.float32
        and "forward" not in vars(module)
    ]
    for module in modules:
        module.__dict__["forward"] = partial(_forward, module)  # as hooks of torch find it
    try:
        yield
    finally:
        for module in modules:
            del module.forward


def _forward(module: nn.Linear | Conv1D, inputs: Tensor) -> Tensor:
    """The module's output in float32; its weight is rounded anew each time, for it is pruned in between."""
    weight = module.weight if isinstance(module, nn.Linear) else module.weight.T
    output = linear(inputs.bfloat16(), weight.bfloat16()).float()
    return output if module.bias is None else output.add_(module.bias)


def is_faster(device: torch.device) -> bool:
    """Whether products in bfloat16 are worth it on a device: measured once, and then read from the user's cache.

    A measurement on a busy machine may come out otherwise, and runs could not be compared with one another.
    """
    path = _measured(device)
    if path.exists():
        return path.read_text(encoding="utf-8").strip() == "true"
    faster = _speedup(device) >= WORTH
    make_folder(path.parent)
    write_json(path, faster)
    return faster


def _measured(device: torch.device) -> Path:
    setting = (machine(), device.type, torch.__version__)
    return cache_folder() / "bfloat16" / f"{hashlib.sha256(repr(setting).encode()).hexdigest()[:32]}.json"


def _speedup(device: torch.device) -> float:
    """Return the speed-up of bfloat16 for a linear module of usual size; 0 if it cannot compute in it."""
    module = nn.Linear(1024, 1024, bias=False, device=device)
    inputs = torch.ones(512, 1024, device=device)
    try:
        with torch.no_grad():
            pair = [_seconds(lambda: module(inputs), device), _seconds(lambda: _forward(module, inputs), device)]
    except (RuntimeError, TypeError):
        return 0.0
    return pair[0] / pair[1]


def _seconds(compute: Callable[[], Tensor], device: torch.device) -> float:
    """Return the shortest of several times."""
    taken = []
    for _ in range(TRIALS):
        synchronise(device)
        began = time.perf_counter()
        compute()
        synchronise(device)
        taken.append(time.perf_counter() - began)
    return min(taken)
