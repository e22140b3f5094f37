"""Free memory, within a container's limit, and failed allocations as errors with a cure."""

import errno
import re

import psutil
import torch

from sds_core.errors import SDSError
from sds_core.models.cgroups import Group, groups_of

FILES = {1: ("memory.limit_in_bytes", "memory.usage_in_bytes"), 2: ("memory.max", "memory.current")}
"""A cgroup's limit and what of it is used, by version."""
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
ASKED = re.compile(r"tried to allocate ([\d.]+) ?([KMGT]?)i?b", re.IGNORECASE)
"""The size in torch's message about a failed allocation, in bytes on the CPU and in GiB on a GPU."""


def free_memory() -> int:
    """Return how many bytes of memory this process can still take: the machine's, or less in a limited cgroup."""
    groups = [left for group in groups_of("memory") if (left := _left(group)) is not None]
    return min([psutil.virtual_memory().available, *groups])


def _left(group: Group) -> int | None:
    """Return what is left of a cgroup's limit, not counting reclaimable file caches; None without a limit."""
    try:
        most, used = (int((group.folder / name).read_text()) for name in FILES[group.version])
        stat = dict(line.split(None, 1) for line in (group.folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # no such file, or "max"
        return None
    return max(most - used + int(stat.get("total_inactive_file") or stat.get("inactive_file") or 0), 0)


def out_of_memory(error: BaseException) -> SDSError | None:
    """Return a failed allocation as an error with a cure; None for any other error."""
    denied = isinstance(error, OSError) and error.errno == errno.ENOMEM
    reported = isinstance(error, RuntimeError | OSError) and "allocate memory" in str(error)
    if not (denied or reported or isinstance(error, MemoryError | torch.OutOfMemoryError)):
        return None
    asked = ASKED.search(str(error))
    needed = f": {int(float(asked[1]) * UNITS[asked[2].upper()]) >> 20:,} MB more were needed at once" if asked else ""
    return SDSError(
        f"memory ran out{needed}; {free_memory() >> 20:,} MB are free now",
        cure="close other programs, take fewer or shorter windows or a smaller model, or leave weights on disk: "
        "--weights disk",
    )
