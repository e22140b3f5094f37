"""Pack a run's record, without weights, into one file to keep or share, and unpack it elsewhere."""

import re
import secrets
import shutil
import zipfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import IO

from sds_core.errors import SDSError, first_line
from sds_core.files import BROKEN_ZIP, new_folder, write_atomically
from sds_core.runs import distribution_files, note
from sds_core.runs.events import BlockFinished, of_kind
from sds_core.runs.job_folder import EVENTS, RESULT
from sds_core.runs.run_folder import CONFIG, DISTRIBUTIONS, ID, RECORD, Run, root

NAME = re.compile(
    rf"{'|'.join(map(re.escape, (*RECORD, note.FILE)))}|{DISTRIBUTIONS}/[a-z]{{1,20}}-[a-z0-9]{{1,10}}\.parquet"
)
"""Names of the files in an archive; any other is refused."""
LARGEST = 500 << 20
"""Bytes that an archive may unpack to."""
LARGEST_FILES = {CONFIG: 1 << 20, note.FILE: 1 << 16, EVENTS: 64 << 20, RESULT: 64 << 20}
"""Largest size of single files in bytes: parsed, they take several times as much memory."""
MOST_VALUES = 50_000_000
"""Values in the distributions of an archive, which are read as a whole to check them."""
MOST_LAYERS = 500_000
"""Blocks times linears, each of which pages draw; the largest mixtures have a seventh."""
ENCRYPTED = 1
"""The flag bit of an encrypted entry."""


def pack(run: Run, target: Path | IO[bytes], leave_out: Collection[Path] = ()) -> None:
    """Write a finished run's record as a zip file.

    Args:
        run: the run.
        target: the file, or an open one.
        leave_out: files that the recipient already has.

    Raises:
        SDSError: the run is not finished, or the file cannot be written.
    """
    run.finished_result()
    files = [run.folder / name for name in RECORD]
    files += sorted((run.folder / DISTRIBUTIONS).glob("*.parquet"))
    files += [path for path in (run.folder / note.FILE,) if path.exists()]
    files = [path for path in files if path not in leave_out]

    def write(file: Path | IO[bytes]) -> None:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as archive:
            for path in files:
                archive.write(path, f"{run.id}/{path.relative_to(run.folder).as_posix()}")

    if isinstance(target, Path):
        write_atomically(target, write)
    else:
        write(target)


def unpack(source: Path | IO[bytes], add: Collection[Path] = ()) -> Run:
    """Create a run from an archive, under its own id if that is free.

    Args:
        source: the archive, a path or an open file.
        add: distributions that were left out of it.

    Raises:
        SDSError: the file is not such an archive, or holds anything that does not belong there; no run is created.
    """
    name = source.name if isinstance(source, Path) else "the file"
    if isinstance(source, Path) and source.exists() and not source.is_file():  # reading a pipe would never end
        raise SDSError("this is not a file", got=source)
    try:
        with zipfile.ZipFile(source) as archive:
            return _unpack(archive, name, add)
    except FileNotFoundError:
        raise SDSError("there is no such file", got=str(source)) from None
    except (*BROKEN_ZIP, OSError) as error:
        raise _not_packed(name, first_line(error)) from error


def identity(path: Path) -> tuple[str, dict[str, bytes]]:
    """Return the id of the run in an archive, and its configuration and result by file name.

    Raises:
        SDSError: the archive is broken.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            run = archive.namelist()[0].split("/", 1)[0]
            return run, {name: archive.read(f"{run}/{name}") for name in (CONFIG, RESULT)}
    except (*BROKEN_ZIP, OSError, LookupError) as error:
        raise _not_packed(path.name, first_line(error)) from error


def holds(run: Run, packed: dict[str, bytes]) -> bool:
    """Whether a run has these files, to the byte."""
    try:
        return all((run.folder / name).read_bytes() == content for name, content in packed.items())
    except OSError:  # it is not there, or not complete
        return False


def further_id(run: str, end: str) -> str:
    """Return the id that a run gets whose own is another's, given six characters."""
    return f"{run[:57]}-{end}"


def _unpack(archive: zipfile.ZipFile, name: str, add: Collection[Path]) -> Run:
    entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    run = _refuse_others(entries, name)
    wanted, other = root() / run, root() / further_id(run, secrets.token_hex(3))
    with new_folder(other) as folder:
        (folder / DISTRIBUTIONS).mkdir()
        for path in add:
            shutil.copyfile(path, folder / DISTRIBUTIONS / path.name)
        for entry in entries:
            path = folder / entry.filename.split("/", 1)[1]
            with archive.open(entry) as packed, open(path, "wb") as file:
                shutil.copyfileobj(packed, file)
        _check(Run(folder), run, name)
    try:
        return Run(other.rename(wanted))
    except OSError:  # a run with this id exists
        return Run(other)


def _refuse_others(entries: Sequence[zipfile.ZipInfo], name: str) -> str:
    """Refuse entries that `pack` does not write, before any is read; return the id of the run."""
    inside = [tuple(entry.filename.split("/", 1)) for entry in entries]
    runs = {parts[0] for parts in inside}
    if len(runs) != 1 or any(len(parts) != 2 or not NAME.fullmatch(parts[1]) for parts in inside):
        raise _not_packed(name, "it holds other files")
    if len(set(inside)) < len(inside):
        raise _not_packed(name, "it holds a file twice")
    for entry, (_, file) in zip(entries, inside, strict=True):
        if entry.flag_bits & ENCRYPTED:
            raise _not_packed(name, f"{file} is encrypted")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise _not_packed(name, f"{file} is compressed by another method")
        if entry.file_size > LARGEST_FILES.get(file, LARGEST):
            raise SDSError(f"{name} unpacks to too much", got=f"{entry.file_size >> 20} MB in {file}")
    if sum(entry.file_size for entry in entries) > LARGEST:
        raise SDSError(f"{name} unpacks to too much", allowed=f"{LARGEST >> 20} MB")
    (run,) = runs
    if not ID.fullmatch(run):
        raise _not_packed(name, "its folder is not named like a run")
    return run


def _check(run: Run, packed: str, name: str) -> None:
    """Refuse what the pages could not show.

    Args:
        packed: the run's id in the archive.
    """
    try:
        config, result = run.config, run.result()
        if config.parent and config.parent.run == packed:
            raise SDSError("it continues from itself")
        if result is None or result.last != config.written_by(config.phases[-1]):
            raise SDSError("its result is incomplete")
        linears = {layer.linear for event in of_kind(run.log.read(), BlockFinished) for layer in event.layers}
        if (layers := run.model().blocks * len(linears)) > MOST_LAYERS:
            raise SDSError("it has too many layers", got=layers, allowed=f"{MOST_LAYERS:,}")
        paths = [path for _, path in distribution_files.files(run.folder)]
        distribution_files.refuse_too_large(paths, MOST_VALUES)
        known = False
        for path in paths:
            rows = distribution_files.read(path)
            known |= bool(rows.loc[rows["round"] == 0, "loss"].notna().any())
        if paths and not known:
            raise SDSError("it holds no layer's output error")
        if len(note.read(run)) > note.LONGEST:
            raise SDSError("its note is too long", allowed=f"{note.LONGEST:,} characters")
    except SDSError as error:
        raise SDSError(f"{name} is not a sound packed run: {error}") from error


def _not_packed(name: str, why: str) -> SDSError:
    return SDSError(f"{name} is not a packed run: {why}", cure="take a file that `pack` has written")
