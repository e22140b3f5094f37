"""The queue of a device: first come, first served, across all processes and folders of runs of a user.

Whoever waits holds the lock of a ticket, a file whose name begins with the time at which the job was launched. The
system frees a lock when its process ends, so nobody waits for the dead.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sds_core.files import make_folder
from sds_core.runs import lock
from sds_core.runs.event_log import LogWriter
from sds_core.runs.events import JobQueued

ABANDONED = 60
"""Seconds after which a ticket that nobody holds is removed: before, its process may be about to lock it."""
SOMEBODY = "another run"


@contextmanager
def device_to_itself(
    device: str, job: str, came: float, log: LogWriter, cancelled: Callable[[], bool]
) -> Iterator[Callable[[str], None]]:
    """Wait until no other worker uses the device and none that came earlier waits, or until the job is cancelled.

    Yields:
        A function that says which job the device works on now, where a process has several.

    Args:
        device: as a configuration names it.
        job: the id that others who wait are told.
        came: when it was launched, seconds since 1970.
        log: of the job; whenever another one is next ahead, it says so.
        cancelled: whether to wait no longer.

    Raises:
        SDSError: there is no such device, or the cache cannot be written.
    """
    from sds_core.models.cache import cache_folder
    from sds_core.models.device import device_name, pick_device

    name = device_name(pick_device(device))
    in_use, queue = cache_folder() / f"{name}.lock", cache_folder() / f"{name}.queue"
    make_folder(queue)
    ticket = queue / f"{int(came * 1e6):020}-{os.getpid()}"
    place, told = lock.take(ticket, job), ""
    assert place is not None, "a ticket has one owner"
    using: int | None = None
    try:
        while not cancelled():
            ahead = _ahead(ticket)
            if ahead is None and (using := lock.take(in_use, job)) is not None:
                break
            first = lock.owner(ahead or in_use)
            behind = first.run if first and first.run else SOMEBODY
            if behind != told:
                log.append(JobQueued(behind=behind))
                told = behind
            if ahead:
                time.sleep(0.2)
        ticket.unlink(missing_ok=True)
        yield lambda current: None if using is None else lock.note_owner(using, current)
    finally:
        ticket.unlink(missing_ok=True)
        for descriptor in (place, using):
            if descriptor is not None:
                os.close(descriptor)


def _ahead(ticket: Path) -> Path | None:
    """Return the ticket next before this one that somebody holds."""
    earlier = sorted((path for path in ticket.parent.iterdir() if path.name < ticket.name), reverse=True)
    for path in earlier:
        if lock.held(path):
            return path
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > ABANDONED:
                path.unlink()
    return None
