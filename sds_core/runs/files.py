"""Files that are whole or not there: atomic writes, append-only logs, free space."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sds_core.errors import SDSError


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, flush it to disk, and move it into place.

    Raises:
        SDSError: the disk is full; what was there before is untouched.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(partial)
        with open(partial, "rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
        sync_folder(path.parent)
    except OSError as error:
        raise disk_error(path, error) from error
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write plain values as JSON, atomically; NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text as UTF-8, atomically."""
    write_atomically(path, lambda partial: partial.write_text(text, encoding="utf-8"))


def sync_folder(folder: Path) -> None:
    """Make a folder's entries durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def disk_error(path: Path, error: OSError) -> SDSError:
    """What a failed write means to the user."""
    free = shutil.disk_usage(path.parent if path.parent.exists() else Path.cwd()).free >> 20
    return SDSError(
        f"{path} cannot be written: {error.strerror or error} ({free} MB free)",
        cure="free some space or choose another place with SDS_RUNS; finished blocks are kept",
    )


def require_space(folder: Path, needed: int) -> None:
    """Refuse work that the disk cannot hold.

    Raises:
        SDSError: fewer than `needed` bytes are free in `folder`.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise SDSError(
            f"the run needs {needed >> 20} MB in {folder}, {free >> 20} MB are free",
            cure="free some space or choose another place with SDS_RUNS",
        )


class EventLog:
    """An append-only file of one JSON object a line; a torn last line is ignored by readers and cut by the writer."""

    def __init__(self, path: Path):
        self.path = path

    def read(self) -> list[dict[str, Any]]:
        """All whole events.

        Raises:
            SDSError: a line in the middle is not an event.
        """
        return Tail(self.path).read()

    def mend(self) -> None:
        """Cut a torn last line off; only for the one writer, under the run's lock."""
        if self.path.exists():
            data = self.path.read_bytes()
            with open(self.path, "r+b") as file:
                file.truncate(data.rfind(b"\n") + 1)

    def append(self, event: dict[str, Any]) -> None:
        """Add one event, durably."""
        line = json.dumps(event, allow_nan=False, ensure_ascii=False) + "\n"
        try:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise disk_error(self.path, error) from error


class Tail:
    """Reads an event log as it grows: only what was appended, and a half-written line not before it is whole."""

    def __init__(self, path: Path):
        self.path, self.offset, self.events = path, 0, list[dict[str, Any]]()

    def read(self) -> list[dict[str, Any]]:
        """All whole events so far."""
        try:
            with open(self.path, "rb") as file:
                file.seek(self.offset)
                chunk = file.read()
        except FileNotFoundError:
            return self.events
        end = chunk.rfind(b"\n") + 1
        new: list[dict[str, Any]] = []
        for line in chunk[:end].splitlines():
            try:
                new.append(json.loads(line))
            except ValueError:
                raise SDSError(
                    f"line {len(self.events) + len(new) + 1} of {self.path} is not an event",
                    cure="the run can be deleted or branched from, not resumed",
                ) from None
        self.events += new
        self.offset += end
        return self.events
