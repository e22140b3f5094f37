"""The append-only file of events: read as it grows, written by one process at a time."""

import json
import os
import time
from dataclasses import replace
from pathlib import Path

from sds_core.errors import SDSError
from sds_core.files import disk_error
from sds_core.runs import typed_json
from sds_core.runs.events import KINDS, Event

NAMES = {kind: name for name, kind in KINDS.items()}


class EventLog:
    """Reads a log: each call parses only what was appended since. A line without its end is left for later."""

    def __init__(self, path: Path):
        self.path = path
        self._events: list[Event] = []
        self._offset = 0

    def read(self) -> list[Event]:
        """Return all whole events so far.

        Raises:
            SDSError: the file cannot be read, or a line is not an event; file, line and field are named.
        """
        try:
            with open(self.path, "rb") as file:
                file.seek(self._offset)
                chunk = file.read()
        except FileNotFoundError:
            return self._events
        except OSError as error:
            raise SDSError(f"{self.path} cannot be read: {error.strerror or error}") from error
        end = chunk.rfind(b"\n") + 1
        new: list[Event] = []
        for line in chunk[:end].splitlines():
            try:
                new.append(from_line(line))
            except ValueError as error:
                raise SDSError(
                    f"line {len(self._events) + len(new) + 1} of {self.path} is not an event: {error}",
                    cure="the run can be deleted, not resumed",
                ) from error
        self._events += new
        self._offset += end
        return self._events


class LogWriter:
    """Appends to a log, numbering events and noting their time. Only for the process that holds the folder's lock.

    A torn last line, left by a process that was killed, is cut off first.
    """

    def __init__(self, path: Path):
        self._path, self._began = path, time.monotonic()
        data = path.read_bytes() if path.exists() else b""
        self._size, self._count = data.rfind(b"\n") + 1, data.count(b"\n")
        if len(data) > self._size:
            os.truncate(path, self._size)

    def append(self, event: Event) -> None:
        """Add one event, durably.

        Raises:
            SDSError: the disk is full; the log is as it was before.
        """
        stamped = replace(event, number=self._count, elapsed=round(time.monotonic() - self._began, 2))
        line = to_line(stamped).encode()
        try:
            with open(self._path, "ab") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            if self._path.exists():
                os.truncate(self._path, self._size)
            raise disk_error(self._path, error) from error
        self._size, self._count = self._size + len(line), self._count + 1


def to_line(event: Event) -> str:
    """Return an event as a line of JSON."""
    values = typed_json.sealed({"kind": NAMES[type(event)]} | typed_json.to_json(event))
    return json.dumps(values, allow_nan=False, ensure_ascii=False) + "\n"


def from_line(line: str | bytes) -> Event:
    """Return the inverse of `to_line`.

    Raises:
        ValueError: the line is not an event; the field that is wrong is named.
    """
    values = typed_json.load(line)
    if not isinstance(values, dict):
        raise ValueError("it is not an object")
    kind = values.pop("kind", None)
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"unknown kind {str(kind)[:60]!r}")
    return typed_json.from_json(KINDS[kind], values)
