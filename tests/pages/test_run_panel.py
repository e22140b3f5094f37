"""What surrounds a run on its page: forecast, record as a file, removal, own texts."""

import io
import shutil

import pytest

from sds_core.runs.archive import pack
from sds_core.runs.run_folder import Run, ids
from tests.pages.conftest import WANDA
from tests.pages.test_studio_runs import STUDIO, Held, address, texts


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


def test_without_a_like_run_nothing_is_promised(runs, app):
    assert "how long it takes is not known" in texts(app(STUDIO))


def test_a_like_run_makes_a_forecast(stepped, app):
    like = stepped.run_of(WANDA, 1)
    assert f"Judged by run {like.id}: about " in (shown := texts(app(STUDIO))) and "GB of memory" in shown


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


@pytest.mark.parametrize("name", ["my text.txt", "../../evil.txt", "....txt"])
def test_a_text_of_ones_own_is_kept_in_the_cache_and_chosen(runs, app, cache, name):
    at = app(STUDIO)
    at.file_uploader(key="own-text").upload(name, b"word " * 50, "text/plain").run()
    at.button(key="use-evaluation").click().run()
    assert not at.exception
    (path,) = (cache / "texts").rglob("*.txt")
    assert path.read_bytes() == b"word " * 50 and path.parents[1] == cache / "texts"
    assert str(path) in at.code[0].value
    path.unlink()
