"""Compute in float64: on the device if it can, else on the CPU."""

from functools import cache

import torch
from torch import Tensor


@cache
def has_float64(device: torch.device) -> bool:
    """Whether a device computes in float64; Apple's GPUs and some of Intel's do not."""
    try:
        return float(torch.ones(2, dtype=torch.float64, device=device).sum()) == 2
    except (RuntimeError, TypeError):
        return False


def double(tensor: Tensor) -> Tensor:
    """Return a tensor in float64, on the CPU where its device has no float64."""
    return tensor.double() if has_float64(tensor.device) else tensor.cpu().double()
