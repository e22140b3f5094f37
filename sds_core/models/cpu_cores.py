"""The CPU cores that this process may use, which may be fewer than the machine has."""

import math
import os

from sds_core.models.cgroups import Group, groups_of


def usable_cores() -> int:
    """Return how many cores this process may use: those it may run on, or the time that its cgroups give it."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [quota for group in groups_of("cpu") if (quota := _quota(group)) is not None]
    return min([cores, *(max(1, math.ceil(quota)) for quota in quotas)])


def _quota(group: Group) -> float | None:
    """Return how many cores' time a cgroup is given; None without a limit."""
    try:
        if group.version == 1:
            given, of = ((group.folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        else:
            given, of = (group.folder / "cpu.max").read_text().split()
        quota = int(given) / int(of)
    except (OSError, ValueError, ZeroDivisionError):  # no such file, or "max"
        return None
    return quota if quota > 0 else None  # -1 in version 1: no limit
