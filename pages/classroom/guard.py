"""The doors of the class's process, closed once its pages are loaded: what it may still open, and nothing else.

Python's audit hooks see every file that Python code opens, every process that it starts and every connection that it
makes, whichever library does it, and cannot be taken out again. Libraries that are not written in Python open files
unseen: for those it counts that no page hands them a path that comes from outside.
"""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path
from typing import Any

REFUSED = (
    *("subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "pty.", "os.kill"),
    *("socket.connect", "socket.sendto", "socket.sendmsg", "os.link", "os.symlink", "os.chmod", "os.chown"),
    *("os.truncate", "os.utime", "os.setxattr", "os.removexattr", "os.chdir", "os.chflags", "os.chroot", "shutil."),
)
"""Beginnings of the names of events that nothing on these pages needs: processes, connections, changed files."""
READS = ("os.listdir", "os.scandir")
WRITES = ("os.mkdir", "os.remove", "os.rename", "os.rmdir")
OWN = ("sds_core", "pages")
MODES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
SYSTEM = ("/proc", "/sys", "/dev/null", "/dev/urandom", "/etc/localtime", "/etc/mime.types", "/usr/share/zoneinfo")
"""Places where Python and its libraries look up facts of the machine; nothing there is the user's."""


def close(readable: Iterable[Path], writable: Path) -> None:
    """Refuse everything else from now on.

    Args:
        readable: folders whose files may be read, besides Python's own and those of the installed packages.
        writable: the folder in which files may be written, too.
    """
    libraries = {sysconfig.get_path("purelib"), sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
    folders = {*libraries, *site.getsitepackages(), sys.prefix, sys.base_prefix, *map(str, readable)}
    reads = _beginnings({*folders, *SYSTEM, str(writable)})
    writes = _beginnings({str(writable)})

    def refuse(what: str) -> None:
        print(f"refused: {what}", file=sys.stderr, flush=True)
        raise PermissionError(f"the pages of a class do not {what}")

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if isinstance(path, int):  # opened before
                return
            changes = bool(flags & MODES) and os.fsdecode(path) != os.devnull
            if not _inside(path, writes if changes else reads):
                refuse(f"{'write' if changes else 'read'} {os.fsdecode(path)}")
        elif event == "import":
            if arguments[0].partition(".")[0] in OWN:
                refuse(f"load {arguments[0]}")
        elif event in READS:
            if not isinstance(arguments[0], int) and not _inside(arguments[0], reads):
                refuse(f"list {arguments[0]}")
        elif event in WRITES:
            paths = arguments[:2] if event == "os.rename" else arguments[:1]
            if not all(_inside(path, writes) for path in paths):
                refuse(f"change {paths[0]}")
        elif event.startswith(REFUSED):
            refuse(f"use {event}")

    sys.addaudithook(hook)


def _beginnings(folders: Iterable[str]) -> tuple[str, ...]:
    """Return the folders as they are named and as they are stored, each also with a slash behind it."""
    named = {os.path.abspath(folder) for folder in folders}
    return tuple(sorted(named | {os.path.realpath(folder) for folder in named}))


def _inside(path: Any, folders: tuple[str, ...]) -> bool:
    """Whether a path leads into one of the folders; behind a `..`, only where it really leads counts."""
    asked = os.fsdecode(path if path is not None else ".")
    whole = os.path.realpath(asked) if ".." in Path(asked).parts else os.path.abspath(asked)
    return any(whole == folder or whole.startswith(folder.rstrip("/") + "/") for folder in folders)
