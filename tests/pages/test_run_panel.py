"""What surrounds a run on its page: record as a file, removal, import."""

import io
import shutil

import pytest

from sds_core.runs.archive import pack
from sds_core.runs.run_folder import Run, ids
from tests.pages.test_studio_runs import STUDIO, Held, address


@pytest.fixture
def own(finished, runs):
    """A copy of the finished fused run that may be written to."""
    shutil.copytree(finished["fused"].folder, runs / finished["fused"].id)
    return Run(runs / finished["fused"].id)


@pytest.fixture
def runs(finished, tmp_path, monkeypatch):
    folder = tmp_path / "runs"
    folder.mkdir()
    monkeypatch.setenv("SDS_RUNS", str(folder))
    return folder


def test_a_run_is_removed_after_asking(own, app, runs):
    at = app(STUDIO, manage=own.id)
    assert own.folder.exists()
    at.button(key="really-delete").click().run()
    assert not at.exception and ids() == [] and address(at, "manage") == "all"


def test_a_run_that_is_worked_on_cannot_be_removed(own, app):
    with Held(own):
        at = app(STUDIO, manage=own.id)
        assert "really-delete" not in {button.key for button in at.button}


def test_a_packed_run_is_imported_and_shown(own, app, runs):
    file = io.BytesIO()
    pack(own, file)
    at = app(STUDIO, manage="all")
    at.file_uploader(key="packed").upload("run.zip", file.getvalue(), "application/zip").run()
    assert not at.exception and len(ids()) == 2
    assert address(at, "manage") in ids() and address(at, "manage") != own.id


def test_a_file_that_is_no_packed_run_is_refused(runs, app):
    at = app(STUDIO, manage="all")
    at.file_uploader(key="packed").upload("run.zip", b"no", "application/zip").run()
    assert not at.exception and "not a packed run" in at.error[0].value and ids() == []
