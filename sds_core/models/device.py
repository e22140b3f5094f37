"""Devices, their memory, and the machine: the only module that knows which accelerators there are."""

import ctypes
import os
import platform
import re
import resource
import sys
from contextlib import suppress
from pathlib import Path

import torch

from sds_core.errors import SDSError
from sds_core.models.cpu_cores import usable_cores
from sds_core.models.free_memory import free_memory

ACCELERATORS = ("cuda", "xpu", "mps")
"""Kinds of devices besides the CPU, as torch calls them: NVIDIA's and AMD's, Intel's, Apple's."""


def devices() -> list[str]:
    """Return the names of this machine's devices, the CPU first."""
    return ["cpu", *(f"{kind}:{i}" for kind in ACCELERATORS for i in range(getattr(torch, kind).device_count()))]


def pick_device(name: str = "auto") -> torch.device:
    """Return a device by name; `auto` is the first accelerator, or the CPU without one.

    Raises:
        SDSError: the named device does not exist here.
    """
    available = devices()
    if name == "auto":
        return torch.device(available[1] if len(available) > 1 else "cpu")
    wanted = f"{name}:0" if name in ACCELERATORS else name
    if wanted not in available:
        raise SDSError("unknown device", got=name, allowed=", ".join(["auto", *available]))
    return torch.device(wanted)


def device_name(device: torch.device) -> str:
    """A file name that is unique to a device, across machines.

    A cache may be shared by machines, and each job of a cluster may see its own GPU as the first.
    """
    which = device.type
    if device.type in ("cuda", "xpu"):
        which = str(torch.get_device_module(device).get_device_properties(device).uuid)
    return re.sub(r"[^a-z0-9.-]+", "-", f"{platform.node()}-{which}".lower())


def describe(device: torch.device) -> str:
    """A device in words."""
    if device.type in ("cuda", "xpu"):
        return torch.get_device_module(device).get_device_name(device)
    return "the GPU of this computer" if device.type == "mps" else f"the CPU ({usable_cores()} cores)"


def allow_fast_matmul(device: torch.device) -> str:
    """Set the precision of float32 matrix products to `medium` if that is accurate here, else `highest`; return it.

    `medium` allows another backend on CPUs, on some twice as fast, on others with bfloat16 products inside, and
    shorter mantissas on GPUs. It is kept if the relative error of a product stays below 1e-6.
    """
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 512, 512, generator=generator, dtype=torch.float64)
    exact = a @ b
    torch.set_float32_matmul_precision("medium")
    product = a.float().to(device) @ b.float().to(device)
    error = float((product.cpu().double() - exact).norm() / exact.norm())
    chosen = "medium" if error < 1e-6 else "highest"
    torch.set_float32_matmul_precision(chosen)
    return chosen


def use_threads(threads: int) -> int:
    """Set the number of CPU threads, one for each core that this process may use for 0; return it."""
    chosen = threads or usable_cores()
    torch.set_num_threads(chosen)
    return chosen


def available_memory(device: torch.device) -> int:
    """Free memory of a device, bytes."""
    if device.type == "cpu":
        return free_memory()
    module = torch.get_device_module(device)
    if device.type == "mps":  # it shares the machine's memory, and may use a part of it
        return min(free_memory(), module.recommended_max_memory() - module.driver_allocated_memory())
    kept = module.memory_reserved(device) - module.memory_allocated(device)  # by torch, which takes it first
    return module.mem_get_info(device)[0] + kept


def synchronise(device: torch.device) -> None:
    """Wait until a device has done all that was asked of it."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def peak_memory() -> int:
    """Peak resident memory of this process, bytes, without GPU memory; on Linux since `forget_peak_memory`."""
    status = Path("/proc/self/status")  # only Linux has it; there, getrusage counts the process that started this one
    lines = status.read_text(encoding="utf-8").splitlines() if status.exists() else []
    known = next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:")), 0)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return known or (peak if sys.platform == "darwin" else peak << 10)  # macOS counts bytes, others kilobytes


def forget_peak_memory() -> None:
    """Let `peak_memory` begin anew, where the system can."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def machine() -> str:
    """Describe this computer in a line, exact enough to compare run times."""
    known = Path("/proc/cpuinfo")  # only Linux has it; elsewhere Python knows the processor
    lines = known.read_text(encoding="utf-8").splitlines() if known.exists() else []
    processor = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    words = [platform.machine(), processor or platform.processor(), f"{os.cpu_count()} cores"]
    for module in (torch.cuda, torch.xpu):
        words += [module.get_device_name(i) for i in range(module.device_count())]
    return ", ".join([*words, f"{platform.system()} {platform.release()}"])


def return_freed_memory() -> None:
    """Return freed memory to the system: glibc keeps up to a gigabyte where matrices of a few megabytes come and go."""
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)
