"""The run lock: held by exactly one process, handed from launcher to worker without a gap, freed by death.

Plain `flock`: the descriptor that the launcher locked is inherited by the worker and only *closed* by the launcher,
for an unlock would free it under the living worker. A process id proves nothing; holding the lock does.
"""

import fcntl
import json
import os
import time
from pathlib import Path
from typing import Any

from sds_core.errors import SDSError

PATIENCE = 1.0  # seconds; somebody who only looks whether the lock is held makes a single try fail


def take(path: Path, owner: dict[str, Any]) -> int | None:
    """Lock `path` and note its owner; returns the open descriptor, or None if another process holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
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
    note_owner(descriptor, owner)
    return descriptor


def note_owner(descriptor: int, owner: dict[str, Any] | None = None) -> None:
    """Write down who holds the lock: this process, unless told otherwise."""
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(owner or {"pid": os.getpid(), "since": time.time()}).encode(), 0)


def held(path: Path) -> bool:
    """Whether some process holds the lock."""
    try:
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True


def owner(path: Path) -> dict[str, Any]:
    """Return the note of the last owner."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def refuse_second(path: Path, run: str) -> SDSError:
    """The error for a second writer."""
    who = owner(path)
    since = time.strftime("%H:%M:%S", time.localtime(who.get("since", 0))) if "since" in who else "an unknown time"
    return SDSError(
        f"run {run} is being worked on by process {who.get('pid', 'unknown')} since {since}",
        cure="wait for it, cancel it, or start a run of its own",
    )
