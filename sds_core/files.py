"""Write files and folders completely or not at all, check free space beforehand, and know the product's own folders."""

import errno
import json
import os
import re
import secrets
import shutil
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sds_core.errors import SDSError, first_line

TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.partial")
"""The names of temporary files and folders, which no other program gives."""
STALE = 24 * 3600
"""Seconds after which a temporary file counts as left behind by a process that was killed."""
FULL = (errno.ENOSPC, errno.EDQUOT)
DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)
BROKEN_ZIP = (
    *(zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error),
    *(EOFError, NotImplementedError, RuntimeError, ValueError),
)
"""Exceptions of `zipfile` on damaged archives."""
POINTER = b"version https://git-lfs.github.com/spec/"
"""How a text begins that Git LFS puts in a large file's place."""


def runs_folder() -> Path:
    """Return the folder of all runs: `SDS_RUNS`, or `runs` in the current folder."""
    return Path(os.environ.get("SDS_RUNS") or "runs").resolve()


def cache_folder() -> Path:
    """Return the folder for converted models and dense results: `SDS_CACHE`, or `sds-studio` in the user's cache."""
    usual = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sds-studio"
    return Path(os.environ.get("SDS_CACHE") or usual)


def user_path(name: str) -> Path:
    """Return the path that a user names, with `~` expanded; there may be nothing yet.

    Raises:
        SDSError: no file can have this name.
    """
    try:
        path = Path(name).expanduser()
        path.lstat()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass
    except (OSError, RuntimeError, ValueError) as error:  # too long, an unknown user's, half a character
        why = error.strerror if isinstance(error, OSError) else first_line(error)
        raise SDSError(f"not a path: {why}", got=name) from error
    return path


def new_file(name: str) -> Path:
    """Return the path that a user names for a file to be written.

    Raises:
        SDSError: no file can have this name, or there is something already.
    """
    path = user_path(name)
    if path.exists():
        raise SDSError("the output file already exists", got=name, cure="choose another name")
    return path


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, flush it to disk, and move it into place.

    Every writer has its own temporary file, so that of several concurrent writers the last one wins, complete.

    Args:
        path: in an existing folder; one that was removed meanwhile is not recreated.

    Raises:
        SDSError: the file cannot be written; what was there before is untouched.
    """
    temporary = _temporary(path)
    try:
        write(temporary)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        raise disk_error(path, error) from error
    finally:
        with suppress(OSError):  # the folder is none
            temporary.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path` that takes its place at the end; an error leaves neither.

    Args:
        path: nothing, or an empty folder.

    Raises:
        SDSError: a file cannot be written, or `path` has been filled meanwhile.
    """
    temporary = _temporary(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        yield temporary
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        raise disk_error(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_folder(path: Path) -> None:
    """Remove a folder with its contents; other processes see it complete or not at all.

    Raises:
        SDSError: it does not exist, or cannot be removed.
    """
    temporary = _temporary(path)
    try:
        path.rename(temporary)
    except OSError as error:
        raise SDSError(f"{path} cannot be removed: {error.strerror or error}") from error
    shutil.rmtree(temporary, ignore_errors=True)


def make_folder(path: Path) -> None:
    """Make a folder and those above it, unless they exist.

    Raises:
        SDSError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(path, error) from error


def write_json(path: Path, value: Any) -> None:
    """Write plain values as JSON, atomically; NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n")


def parse_json(text: str | bytes) -> Any:
    """Return the plain values that a JSON text holds.

    Raises:
        ValueError: the text is not JSON, or is nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def refuse_pointer(path: Path) -> None:
    """Refuse a file of which only Git's pointer is there, as in a clone that was made without Git LFS.

    Raises:
        SDSError: it is one.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        if file.read(len(POINTER)) == POINTER:
            raise SDSError(f"{path} is a pointer to the file, not the file", cure="fetch it: git lfs pull")


def write_text(path: Path, text: str) -> None:
    """Write a text as UTF-8, atomically."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def sync_folder(folder: Path) -> None:
    """Make a folder's entries durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def disk_error(path: Path, error: OSError) -> SDSError:
    """Return the error for a failed write, with its true cause: it may be a file elsewhere that was to be copied."""
    alone = isinstance(error.filename, str) and error.filename2 is None  # a copy that fails half-way names both
    own, other = path.absolute(), Path(error.filename if alone else path).absolute()
    if error.errno not in FULL and not (other.is_relative_to(own.parent) or own.is_relative_to(other)):
        return SDSError(f"{other} cannot be read: {error.strerror}")
    what = f"{path} cannot be written: {error.strerror or error}"
    if error.errno in FULL:
        above = next(folder for folder in path.absolute().parents if folder.exists())
        free = shutil.disk_usage(above).free >> 20
        kept = "; finished blocks are kept" if _is_inside(path, runs_folder()) else ""
        return SDSError(f"{what} ({free} MB free)", cure=f"free some space, or {_elsewhere(path)}{kept}")
    if error.errno in DENIED:
        return SDSError(what, cure=f"allow writing there, or {_elsewhere(path)}")
    if error.errno == errno.ENOENT:
        what = f"{path} cannot be written: the folder {path.parent} is not there"
        return SDSError(what, cure="it may have been moved or deleted")
    return SDSError(what)


def _elsewhere(path: Path) -> str:
    """Return the cure for a place that cannot take a file: choosing another one."""
    chosen_with = {runs_folder(): " with SDS_RUNS", cache_folder(): " with SDS_CACHE"}
    return "choose another place" + next((how for folder, how in chosen_with.items() if _is_inside(path, folder)), "")


def _is_inside(path: Path, folder: Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def require_writable(path: Path) -> None:
    """Refuse work whose result could not be written; create the folder if needed.

    Raises:
        SDSError: no file can be written beside `path`.
    """
    make_folder(path.parent)
    temporary = _temporary(path)
    try:
        temporary.touch()
        temporary.unlink()
    except OSError as error:
        raise disk_error(path, error) from error


def require_space(folder: Path, needed: int) -> None:
    """Refuse work that the disk cannot hold.

    Raises:
        SDSError: fewer than `needed` bytes are free in `folder`.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise SDSError(
            f"{needed >> 20} MB are needed in {folder}, {free >> 20} MB are free",
            cure=f"free some space, or {_elsewhere(folder)}",
        )


def total_size(files: Iterable[Path]) -> int:
    """Return the bytes of files, without those that vanish meanwhile, as parts of a download do."""
    size = 0
    for file in files:
        with suppress(FileNotFoundError):
            size += file.stat().st_size
    return size


def in_units(size: int) -> str:
    """Write bytes in GB, in MB where that is less than one, or in kB."""
    for unit, name in ((1e9, "GB"), (1e6, "MB")):
        if size >= unit:
            return f"{size / unit:,.1f} {name}"
    return f"{size / 1e3:,.1f} kB"


def _temporary(path: Path) -> Path:
    """Return an unused name beside `path`, and remove what killed writers have left there."""
    for stale in path.parent.glob(".*.partial"):
        if not TEMPORARY.fullmatch(stale.name):
            continue
        try:
            if time.time() - stale.stat().st_mtime < STALE:
                continue
            if stale.is_dir():
                shutil.rmtree(stale, ignore_errors=True)
            else:
                stale.unlink()
        except OSError:  # another writer was faster, or it belongs to somebody else: harmless
            continue
    return path.with_name(f".{secrets.token_hex(8)}.partial")
