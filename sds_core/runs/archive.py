"""A run's record, without weights, as one file that can be sent, kept, and looked at elsewhere."""

import json
import re
import secrets
import shutil
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import IO

from sds_core.errors import SDSError
from sds_core.files import new_folder, write_atomically
from sds_core.runs import layer_stats, note
from sds_core.runs.config import RunConfig
from sds_core.runs.run_folder import ID, Run, root

NAME = re.compile(
    r"config\.json|events\.jsonl|result\.json|note\.txt|distributions/[a-z]{1,20}-[a-z0-9]{1,10}\.parquet"
)
"""Names of the files in an archive; any other is refused."""
LARGEST = 500 << 20
"""Bytes that an archive may unpack to."""


def pack(run: Run, target: Path | IO[bytes], leave_out: Collection[Path] = ()) -> None:
    """Write a finished run's record as a zip file.

    Args:
        run: the run.
        target: the file, or an open one.
        leave_out: files that whoever unpacks it has already.

    Raises:
        SDSError: the run is not finished, or the file cannot be written.
    """
    run.finished_result()
    files = [run.folder / name for name in ("config.json", "events.jsonl", "result.json")]
    files += sorted((run.folder / "distributions").glob("*.parquet"))
    files += [path for path in (run.folder / note.FILE,) if path.exists()]
    files = [path for path in files if path not in leave_out]

    def write(file: Path | IO[bytes]) -> None:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in files:
                archive.write(path, f"{run.id}/{path.relative_to(run.folder).as_posix()}")

    if isinstance(target, Path):
        write_atomically(target, write)
    else:
        write(target)


def unpack(source: Path | IO[bytes], add: Collection[Path] = ()) -> Run:
    """Make a run of an archive, under its own id if that is free.

    Args:
        source: the archive, a path or an open file.
        add: distributions that were left out of it.

    Raises:
        SDSError: the file is not such an archive, or holds anything that does not belong there.
    """
    name = source.name if isinstance(source, Path) else "the file"
    try:
        with zipfile.ZipFile(source) as archive:
            return _unpack(archive, name, add)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, NotImplementedError) as error:
        raise SDSError(f"{name} is not a packed run: {error}", cure="take a file that `pack` has written") from error
    except FileNotFoundError:
        raise SDSError("there is no such file", got=str(source)) from None


def packed_id(path: Path) -> str:
    """The id of the run in a sound archive."""
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()[0].split("/", 1)[0]


def _unpack(archive: zipfile.ZipFile, name: str, add: Collection[Path]) -> Run:
    entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    inside = {tuple(entry.filename.split("/", 1)) for entry in entries}
    runs = {parts[0] for parts in inside}
    if len(runs) != 1 or any(len(parts) != 2 or not NAME.fullmatch(parts[1]) for parts in inside):
        raise SDSError(f"{name} is not a packed run: it holds other files", cure="take a file that `pack` has written")
    if sum(entry.file_size for entry in entries) > LARGEST:
        raise SDSError(f"{name} unpacks to too much", allowed=f"{LARGEST >> 20} MB")
    (run,) = runs
    if not ID.fullmatch(run):
        raise SDSError(f"{name} is not a packed run", got=run)
    wanted, other = root() / run, root() / f"{run[:57]}-{secrets.token_hex(3)}"
    with new_folder(other) as folder:
        (folder / "distributions").mkdir()
        for path in add:
            shutil.copyfile(path, folder / "distributions" / path.name)
        for entry in entries:
            path = folder / entry.filename.split("/", 1)[1]
            with archive.open(entry) as packed, open(path, "wb") as file:
                shutil.copyfileobj(packed, file)
        _check(Run(folder), name)
    try:
        return Run(other.rename(wanted))
    except OSError:  # a run of this id is here
        return Run(other)


def _check(run: Run, name: str) -> None:
    """Refuse what the pages could not show."""
    try:
        config = RunConfig.from_dict(json.loads((run.folder / "config.json").read_text(encoding="utf-8")))
        result = run.result()
        assert result is not None and result.last == config.written_by(config.phases[-1])
        run.model()
        layer_stats.load(run.folder)
        assert len(note.read(run)) <= note.LONGEST
    except (OSError, ValueError, KeyError, TypeError, AssertionError, SDSError) as error:
        raise SDSError(f"{name} is not a sound packed run: {error or 'its result is incomplete'}") from error
