"""The examples that come along: unpacked once, and again after they were removed."""

import json
import shutil

import pytest

from sds_core.errors import SDSError
from sds_core.runs import examples, layer_stats
from sds_core.runs.archive import pack
from sds_core.runs.run_folder import Run, ids
from tests.runs.archives import damaged


@pytest.fixture
def folder(finished, tmp_path, monkeypatch, runs_root):
    monkeypatch.setattr(examples, "FOLDER", tmp_path / "examples")
    (tmp_path / "examples").mkdir()
    pack(finished, tmp_path / "examples" / "base-wanda.zip")
    return tmp_path / "examples"


def test_examples_are_taken_in_once(folder, finished):
    (first,) = examples.unpack_all()
    (second,) = examples.unpack_all()
    assert first == second and ids() == [first.id] and first.result() == finished.result()


def test_an_example_that_was_removed_comes_back(folder):
    (first,) = examples.unpack_all()
    first.delete()
    (again,) = examples.unpack_all()
    assert ids() == [again.id]


def test_a_folder_without_a_result_is_left_alone_and_the_example_comes_once(folder):
    (first,) = examples.unpack_all()
    (first.folder / "result.json").unlink()
    (second,), (third,) = examples.unpack_all(), examples.unpack_all()
    assert second == third != first and sorted(ids()) == sorted([first.id, second.id])


def test_a_run_that_has_an_examples_id_is_not_the_example(folder, finished, runs_root):
    foreign = Run(shutil.copytree(finished.folder, runs_root / finished.id))
    (foreign.folder / "config.json").write_text(json.dumps(foreign.raw_config() | {"title": "mine"}))
    (first,), (second,) = examples.unpack_all(), examples.unpack_all()
    assert first == second != foreign and first.config.title == "" and foreign.config.title == "mine"


def test_a_broken_example_is_a_sentence(folder):
    path = folder / "base-wanda.zip"
    damaged(path, path, "result.json")
    with pytest.raises(SDSError, match=r"base-wanda\.zip is not a packed run"):
        examples.unpack_all()
    path.write_bytes(b"PK")
    with pytest.raises(SDSError, match=r"base-wanda\.zip is not a packed run"):
        examples.unpack_all()


@pytest.fixture(scope="module")
def shipped_runs(tmp_path_factory):
    """A folder of runs in which each example is unpacked once: a method's takes phase 1 from its base pruner's."""
    return tmp_path_factory.mktemp("shipped")


@pytest.mark.parametrize("path", sorted(examples.FOLDER.glob("*.zip")), ids=lambda path: path.stem)
def test_every_example_that_is_shipped_can_be_looked_at(path, shipped_runs, monkeypatch):
    monkeypatch.setenv("SDS_RUNS", str(shipped_runs))
    run = examples.example(path.stem)
    assert path.stem == f"{run.config.method}-{run.config.pruner}" and run.config.model == "demo"
    frame = layer_stats.load(run.folder)
    assert set(frame["block"]) == set(range(30)) and run.result().sparsity == 0.5


def test_concurrent_unpacking_leaves_one_copy(folder, monkeypatch):
    real = examples.unpack

    def late(path, **more):
        real(path, **more)  # the other one
        return real(path, **more)

    monkeypatch.setattr(examples, "unpack", late)
    assert [examples.example("base-wanda").id] == ids()
