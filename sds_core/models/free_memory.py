"""Free memory, within a container's limit, and failed allocations as errors with a cure."""

import errno
import re
from pathlib import Path

import psutil
import torch

from sds_core.errors import SDSError

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
ASKED = re.compile(r"tried to allocate ([\d.]+) ?([KMGT]?)i?b", re.IGNORECASE)
"""The size in torch's message about a failed allocation, in bytes on the CPU and in GiB on a GPU."""


def free_memory() -> int:
    """Return how many bytes of memory this process can still take: the machine's, or less in a limited cgroup."""
    return min([psutil.virtual_memory().available, *_left_in_groups(CGROUPS, MEMBERSHIP)])


def _left_in_groups(groups: Path, membership: Path) -> list[int]:
    """Return what is left of each memory limit on this process, in cgroups of version 1 or 2."""
    try:
        lines = [line.split(":", 2) for line in membership.read_text(encoding="utf-8").splitlines()]
    except OSError:  # not Linux
        return []
    found = list[int]()
    for _, controllers, path in (line for line in lines if len(line) == 3):
        if not controllers:
            top, names = groups, ("memory.max", "memory.current")
        elif "memory" in controllers.split(","):
            top, names = groups / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes")
        else:
            continue
        own = top / path.strip("/")
        # Inside a container the path may be the host's; then the top is what the container sees of its own group.
        for folder in (own, *own.parents) if own.is_dir() else (top,):
            if folder.is_relative_to(top) and (left := _left(folder, *names)) is not None:
                found.append(left)
    return found


def _left(folder: Path, limit: str, usage: str) -> int | None:
    """Return what is left of a cgroup's limit, not counting reclaimable file caches; None without a limit."""
    try:
        most, used = int((folder / limit).read_text()), int((folder / usage).read_text())
        stat = dict(line.split(None, 1) for line in (folder / "memory.stat").read_text().splitlines())
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
