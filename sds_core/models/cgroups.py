"""The cgroups that limit this process on Linux, of version 1 or 2: a container, a batch system or a service."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

GROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


class Group(NamedTuple):
    """A cgroup, as far as it is about one controller."""

    folder: Path
    version: int
    """1 or 2; they name their files differently."""


def groups_of(controller: str) -> Iterator[Group]:
    """Yield the cgroups whose limits on a controller, such as `memory` or `cpu`, hold for this process."""
    try:
        lines = [line.split(":", 2) for line in MEMBERSHIP.read_text(encoding="utf-8").splitlines()]
    except OSError:  # not Linux
        return
    for _, controllers, path in (line for line in lines if len(line) == 3):
        if not controllers:
            top, version = GROUPS, 2
        elif controller in controllers.split(","):
            top, version = GROUPS / controller, 1
        else:
            continue
        own = top / path.strip("/")
        # Inside a container the path may be the host's; then the top is what the container sees of its own group.
        for folder in (own, *own.parents) if own.is_dir() else (top,):
            if folder.is_relative_to(top):
                yield Group(folder, version)
