"""Packed runs: the same numbers come back, and nothing else gets in."""

import io
import json
import zipfile

import pandas as pd
import pytest

from sds_core.errors import SDSError
from sds_core.runs import layer_stats
from sds_core.runs.archive import pack, unpack
from sds_core.runs.config import RunConfig
from sds_core.runs.new_run import create
from sds_core.runs.run_folder import ids


@pytest.fixture
def packed(finished, tmp_path):
    pack(finished, tmp_path / "run.zip")
    return tmp_path / "run.zip"


def changed(packed, path, **entries):
    """A copy of an archive with some entries replaced or added; None takes one away."""
    with zipfile.ZipFile(packed) as archive:
        files = {entry: archive.read(entry) for entry in archive.namelist()}
    files |= entries
    with zipfile.ZipFile(path, "w") as archive:
        for name, value in files.items():
            if value is not None:
                archive.writestr(name, value)
    return path


def test_a_packed_run_comes_back_without_its_weights(finished, packed, runs_root):
    run = unpack(packed)
    assert ids() == [run.id] == [finished.id] and run.folder.parent == runs_root
    assert run.config == finished.config and run.result() == finished.result() and run.state() == "finished"
    pd.testing.assert_frame_equal(layer_stats.load(run.folder), layer_stats.load(finished.folder))
    assert not list(run.folder.glob("phase*"))


def test_a_second_import_gets_an_id_of_its_own(packed, runs_root):
    first, second = unpack(packed), unpack(io.BytesIO(packed.read_bytes()))
    assert sorted(ids()) == sorted([first.id, second.id]) and second.id.startswith(first.id)


def test_what_is_not_finished_is_not_packed(tmp_path, runs_root):
    with pytest.raises(SDSError, match="is new, not finished"):
        pack(create(RunConfig()), tmp_path / "x.zip")


@pytest.mark.parametrize(
    "name", ["../evil", "/etc/evil", "{run}/../../evil", "{run}/phase3/block-000.safetensors", "x/config.json"]
)
def test_files_that_do_not_belong_are_refused_and_nothing_is_written(finished, packed, tmp_path, runs_root, name):
    bad = changed(packed, tmp_path / "bad.zip", **{name.format(run=finished.id): b"x"})
    with pytest.raises(SDSError, match="holds other files"):
        unpack(bad)
    assert not list(runs_root.glob("*")) and not list(tmp_path.rglob("evil*"))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", b"{"),
        ("config.json", json.dumps({"pruner": "no body"}).encode()),
        ("config.json", None),
        ("result.json", b"{}"),
        ("result.json", b"[]"),
        ("result.json", None),
        ("distributions/fused-000.parquet", b"PAR1"),
    ],
)
def test_a_broken_archive_is_a_sentence_and_nothing_is_written(finished, packed, tmp_path, runs_root, name, content):
    bad = changed(packed, tmp_path / "bad.zip", **{f"{finished.id}/{name}": content})
    with pytest.raises(SDSError, match=r"bad\.zip is not a sound packed run"):
        unpack(bad)
    assert not list(runs_root.glob("*"))


def test_a_file_that_is_no_archive_is_a_sentence(tmp_path, runs_root):
    (tmp_path / "x.zip").write_text("no")
    with pytest.raises(SDSError, match="not a packed run"):
        unpack(tmp_path / "x.zip")
    with pytest.raises(SDSError, match="no such file"):
        unpack(tmp_path / "y.zip")


def test_an_archive_that_unpacks_to_too_much_is_refused(finished, packed, tmp_path, runs_root, monkeypatch):
    monkeypatch.setattr("sds_core.runs.archive.LARGEST", 1000)
    with pytest.raises(SDSError, match="unpacks to too much"):
        unpack(packed)
