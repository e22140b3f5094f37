"""Pruners of one's own: the files of the folder that `SDS_PRUNERS` names, offered beside those that come along.

Only that folder is ever looked into, and only whoever starts the command line or the app can name it: no upload, no
run's configuration and no address leads here. A file that has changed is taken in anew, one that is gone or broken is
not offered any more; which file a run was made with is known by its SHA-256.
"""

import hashlib
import os
import re
import threading
from collections.abc import Iterable
from pathlib import Path

from sds_core.errors import SDSError
from sds_core.pruning.registry import PRUNERS, Pruner, make_pruner
from sds_core.runs.plugin_file import BUILT_IN, NAME, NO_PRUNER, PrunerFile, accept, content

VARIABLE = "SDS_PRUNERS"
SHA256 = re.compile(r"[0-9a-f]{64}")

_offered: dict[str, PrunerFile] = {}
"""What is in `PRUNERS` beside those that come along."""
_known: dict[Path, tuple[str, PrunerFile | SDSError]] = {}
"""What became of each file, with its SHA-256 then: nothing is run again until the file changes."""
_one_at_a_time = threading.RLock()
"""The app serves every visitor in a thread of its own."""


def use(folder: str) -> None:
    """Name the folder, for this process and the workers that it starts.

    Raises:
        SDSError: there is no such folder.
    """
    os.environ[VARIABLE] = str(_existing(folder))


def refresh() -> dict[str, SDSError]:
    """Offer in `PRUNERS` what the folder holds now; returns why some of its files are not offered, by their names.

    Raises:
        SDSError: there is no such folder.
    """
    with _one_at_a_time:
        named = os.environ.get(VARIABLE)
        try:
            folder = _existing(named) if named else None
        except SDSError:
            _offer({})
            raise
        found = {path.stem: _take_in(path, folder) for path in sorted(folder.glob("*.py"))} if folder else {}
        _offer({name: file for name, file in found.items() if isinstance(file, PrunerFile)})
        return {name: fault for name, fault in found.items() if isinstance(fault, SDSError)}


def require(name: str, sha256: str = "") -> Pruner | None:
    """The named pruner with its default options, ready to prune; None where a run is to use none.

    Args:
        sha256: of the file that a run was made with; empty if any will do.

    Raises:
        SDSError: there is none of that name, its file is broken, or it is not the file that was meant.
    """
    if name == NO_PRUNER:
        return None
    if name in BUILT_IN:
        return make_pruner(name)
    with _one_at_a_time:
        faults = refresh()
        if name in faults:
            raise faults[name].with_traceback(None)
        if name not in _offered:
            raise _missing(name, sha256)
        file = _offered[name]
    if sha256 and file.sha256 != sha256:
        raise SDSError(
            f"the pruner file {file.path} changed since: its SHA-256 was {sha256[:12]}… and is {file.sha256[:12]}…",
            cure="put the old file back, or start a new run",
        )
    return file.cls()


def check_name(name: str, sha256: str) -> None:
    """What a run's configuration may say: with its hash it may name somebody's own pruner that is not here.

    Raises:
        SDSError: an unknown pruner without a hash, or a name or hash that cannot be.
    """
    if not sha256:
        require(name)
    elif name in BUILT_IN or not NAME.fullmatch(name) or not SHA256.fullmatch(sha256):
        raise SDSError("not the name and the SHA-256 of a pruner of one's own", got=f"{name}, {sha256}")


def sha256_of(name: str) -> str:
    """SHA-256 of an offered pruner's file; empty for those that come along."""
    return _offered[name].sha256 if name in _offered else ""


def flag(names: Iterable[str]) -> list[str]:
    """What a command line with these pruners has to say besides."""
    if not set(names) - {*BUILT_IN, NO_PRUNER}:
        return []
    named = os.environ.get(VARIABLE)
    return ["--pruners", str(Path(named).expanduser().resolve()) if named else "FOLDER"]


def _offer(files: dict[str, PrunerFile]) -> None:
    """Let these be in `PRUNERS` beside those that come along, and no others."""
    for name in _offered.keys() - files.keys():
        del PRUNERS[name]
    PRUNERS.update({name: file.cls for name, file in files.items()})
    _offered.clear()
    _offered.update(files)


def _existing(folder: str) -> Path:
    path = Path(folder).expanduser().resolve()
    if not path.is_dir():
        raise SDSError("there is no such folder of pruners", got=folder)
    return path


def _take_in(path: Path, folder: Path) -> PrunerFile | SDSError:
    """What a file gives, or why it gives nothing."""
    try:
        if path.resolve().parent != folder:
            raise SDSError(f"{path.name} is a link that leads out of {folder}", cure="copy the file there")
        data = content(path)
    except SDSError as fault:
        return fault
    sha256 = hashlib.sha256(data).hexdigest()
    if path not in _known or _known[path][0] != sha256:
        try:
            _known[path] = sha256, accept(path, data)
        except SDSError as fault:
            _known[path] = sha256, fault
    return _known[path][1]


def _missing(name: str, sha256: str) -> SDSError:
    if not sha256:
        cure = f"one of your own is a file in the folder that --pruners or {VARIABLE} names"
        return SDSError("unknown pruner", got=name, allowed=", ".join(PRUNERS), cure=cure)
    return SDSError(
        f"the pruner {name} is somebody's own, and its file is not here",
        cure=f"put {name}.py (SHA-256 {sha256[:12]}…) into a folder and name that: --pruners FOLDER on the command "
        f"line, {VARIABLE} for the app",
    )
