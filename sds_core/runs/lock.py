"""The run lock: held by exactly one process, passed from launcher to worker without a gap, freed when that ends.

Plain `flock`: the descriptor that the launcher locked is inherited by the worker and only *closed* by the launcher,
since an unlock would free it under the running worker. A process id proves nothing; holding the lock does.
"""

import errno
import fcntl
import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from sds_core.errors import SDSError
from sds_core.files import disk_error
from sds_core.runs import typed_json

PATIENCE = 1.0  # seconds of retries: a process that only checks the lock makes a single attempt fail


@dataclass(frozen=True, kw_only=True)
class Owner:
    """The process that holds a lock."""

    pid: int = field(default_factory=os.getpid)
    since: Annotated[float, typed_json.Within(0, 1e11)] = field(default_factory=time.time)
    """Seconds since 1970."""
    run: str = ""
    """The run that it works on, where the lock is a device's."""


def take(path: Path, run: str = "") -> int | None:
    """Lock `path` and note that this process holds it; return the open descriptor, or None if another one holds it.

    Args:
        path: the lock; created if its folder exists.
        run: the run to show to others who wait for a device.

    Raises:
        SDSError: the folder is gone, even if it was removed during the wait, or cannot be written to.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise disk_error(path, error) from error
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(descriptor)
                return None
            time.sleep(0.02)
    if not _is(path, descriptor):
        os.close(descriptor)
        raise disk_error(path, FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)))
    note_owner(descriptor, run)
    return descriptor


def _is(path: Path, descriptor: int) -> bool:
    """Whether a path still leads to an open file."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except OSError:
        return False


def note_owner(descriptor: int, run: str = "") -> None:
    """Record this process as the owner; on a full disk there is no note."""
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(typed_json.to_json(Owner(run=run))).encode(), 0)


def held(path: Path) -> bool:
    """Whether some process holds the lock.

    Raises:
        SDSError: the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    except OSError as error:
        raise SDSError(f"the lock {path} cannot be read: {error.strerror or error}") from error


def owner(path: Path) -> Owner | None:
    """Return the note of the last owner; None where it cannot be read."""
    try:
        return typed_json.parse(Owner, path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def refuse_second(path: Path, run: str) -> SDSError:
    """Return the error for a second writer."""
    who = owner(path)
    by = f"process {who.pid} since {time.strftime('%H:%M:%S', time.localtime(who.since))}" if who else "another process"
    return SDSError(
        f"run {run} is being worked on by {by}",
        cure="wait for it, cancel it, or start another run",
    )
