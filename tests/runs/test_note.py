"""A run's note lies beside its record, survives packing, and never touches what the run wrote."""

import errno
import shutil
from pathlib import Path
from unittest.mock import Mock

import pytest

from sds_core.errors import SDSError
from sds_core.runs import note
from sds_core.runs.archive import pack, unpack
from sds_core.runs.config import RunConfig
from sds_core.runs.new_run import create
from sds_core.runs.run_folder import Run


def files(run: Run) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run.folder.iterdir() if path.is_file()}


def test_note_changes_leave_the_record_alone():
    run = create(RunConfig())
    before = files(run)
    assert note.read(run) == ""
    note.write(run, " Größer als\nerwartet 🧮 \n")
    assert note.read(Run(run.folder)) == "Größer als\nerwartet 🧮"
    note.write(run, "another")
    assert files(run) == before | {note.FILE: b"another\n"}
    note.write(run, "  \n")
    assert files(run) == before


def test_no_lock_is_needed_to_write_one(monkeypatch):
    run = create(RunConfig())
    monkeypatch.setattr(Run, "take_lock", lambda self: pytest.fail("a note asked for the run's lock"))
    note.write(run, "while it runs")


def test_invalid_notes_are_refused_and_nothing_is_written(runs_root):
    run = create(RunConfig())
    note.write(run, "x" * note.LONGEST)
    with pytest.raises(SDSError, match="too long"):
        note.write(run, "y" * (note.LONGEST + 1))
    assert note.read(run) == "x" * note.LONGEST
    run.delete()
    with pytest.raises(SDSError, match="has been removed"):
        note.write(run, "too late")
    assert not run.folder.exists()


def test_a_note_that_cannot_be_removed_is_a_sentence(monkeypatch):
    run = create(RunConfig())
    note.write(run, "mine")
    denied = PermissionError(errno.EACCES, "Permission denied")
    monkeypatch.setattr(Path, "unlink", Mock(side_effect=denied))
    with pytest.raises(SDSError, match=r"note\.txt cannot be written: Permission denied"):
        note.write(run, "")


def test_file_that_is_no_text_is_reported():
    run = create(RunConfig())
    (run.folder / note.FILE).write_bytes(b"\xff")
    with pytest.raises(SDSError, match="note of run"):
        note.read(run)


def test_packed_run_keeps_its_note_unless_too_long(finished, tmp_path, runs_root):
    mine = Run(shutil.copytree(finished.folder, tmp_path / finished.id))
    note.write(mine, "Seed 0.\nLook at block 2.")
    pack(mine, tmp_path / "run.zip")
    assert note.read(unpack(tmp_path / "run.zip")) == "Seed 0.\nLook at block 2."
    (mine.folder / note.FILE).write_text("x" * (note.LONGEST + 1))
    pack(mine, tmp_path / "long.zip")
    with pytest.raises(SDSError, match="not a sound packed run"):
        unpack(tmp_path / "long.zip")
