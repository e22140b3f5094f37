"""Files that are whole or not there: atomic writes, and free space checked beforehand."""

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
    """Return the error for a failed write."""
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
