"""The one place that knows which accelerators exist."""

import ctypes
import os
import platform
import re
import resource
import sys
from pathlib import Path

import psutil
import torch

from sds_core.errors import SDSError


def pick_device(name: str = "auto") -> torch.device:
    """The device to work on: `auto` takes the first GPU, or the CPU where there is none.

    Raises:
        SDSError: the named device does not exist here.
    """
    available = ["cpu"] + [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    if name == "auto":
        return torch.device(available[1] if len(available) > 1 else "cpu")
    wanted = "cuda:0" if name == "cuda" else name
    if wanted not in available:
        raise SDSError("unknown device", got=name, allowed=", ".join(["auto", *available]))
    return torch.device(wanted)


def device_name(device: torch.device) -> str:
    """A file name for a device that no other one has, on this machine or another.

    Caches may lie on a disk that machines share, and every job of a cluster may see the GPU it was given as the first.
    """
    which = str(torch.cuda.get_device_properties(device).uuid) if device.type == "cuda" else device.type
    return re.sub(r"[^a-z0-9.-]+", "-", f"{platform.node()}-{which}".lower())


def allow_fast_matmul(device: torch.device) -> str:
    """Use the faster float32 matrix product where it is accurate on this device; says which precision was chosen.

    `medium` permits another backend on CPUs, on some twice as fast, on others with bfloat16 products inside, and
    shorter mantissas on GPUs. So it is tried first: kept if the relative error of a product stays below 1e-6, else
    `highest`.
    """
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 512, 512, generator=generator, dtype=torch.float64).to(device)
    torch.set_float32_matmul_precision("medium")
    error = float(((a.float() @ b.float()).double() - a @ b).norm() / (a @ b).norm())
    chosen = "medium" if error < 1e-6 else "highest"
    torch.set_float32_matmul_precision(chosen)
    return chosen


def available_memory(device: torch.device) -> int:
    """Bytes that are free on a device now."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available


def peak_memory() -> int:
    """Highest resident memory of this process so far, bytes; a GPU's own is not in it."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10  # macOS counts bytes, Linux kilobytes


def machine() -> str:
    """This computer in a line, exact enough to know whether a time was taken on one like it."""
    known = Path("/proc/cpuinfo")  # only Linux has it; elsewhere Python knows the processor
    lines = known.read_text(encoding="utf-8").splitlines() if known.exists() else []
    processor = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    words = [platform.machine(), processor or platform.processor(), f"{os.cpu_count()} cores"]
    words += [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return ", ".join([*words, f"{platform.system()} {platform.release()}"])


def return_freed_memory() -> None:
    """Hand freed memory back to the system, where the C library keeps it for later: glibc does, a gigabyte of it where
    matrices of a few megabytes come and go."""
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)
