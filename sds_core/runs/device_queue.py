"""The queue of a device: first come, first served, across all processes and folders of runs of a user.

A waiting process holds the lock of its ticket, a file whose name begins with the time when the job was launched. The
system frees a lock when its process ends, so no dead process is waited for.
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
"""Seconds after which a ticket that nobody holds is removed; a younger one may be about to be locked."""
SOMEBODY = "another run"


@contextmanager
def device_to_itself(
    device: str, job: str, launched: float, log: LogWriter, cancelled: Callable[[], bool]
) -> Iterator[Callable[[str], None]]:
    """Wait until the device is free and all earlier jobs have had it, or until the job is cancelled.

    Yields:
        A function to name the job that the device now works on, where a process has several.

    Args:
        device: as in a configuration.
        job: the id to show to other waiting jobs.
        launched: time of launch, seconds since 1970.
        log: the job's log; it records whenever another job is next ahead.
        cancelled: whether to stop waiting.

    Raises:
        SDSError: there is no such device, or the cache cannot be written.
    """
    from sds_core.files import cache_folder
    from sds_core.models.device import device_name, pick_device

    name = device_name(pick_device(device))
    in_use, queue = cache_folder() / f"{name}.lock", cache_folder() / f"{name}.queue"
    make_folder(queue)
    ticket = queue / f"{int(launched * 1e6):020}-{os.getpid()}"
    place, reported = lock.take(ticket, job), ""
    assert place is not None, "a ticket has one owner"
    using: int | None = None
    try:
        while not cancelled():
            ahead = _ahead(ticket)
            if ahead is None and (using := lock.take(in_use, job)) is not None:
                break
            first = lock.owner(ahead or in_use)
            behind = first.run if first and first.run else SOMEBODY
            if behind != reported:
                log.append(JobQueued(behind=behind))
                reported = behind
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
    """Return the nearest earlier ticket that is still held."""
    earlier = sorted((path for path in ticket.parent.iterdir() if path.name < ticket.name), reverse=True)
    for path in earlier:
        if lock.held(path):
            return path
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > ABANDONED:
                path.unlink()
    return None
