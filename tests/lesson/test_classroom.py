"""What a class may look at: records of shared experiments alone, and nothing of them but the record."""

import pytest

from sds_core.errors import SDSError
from sds_core.lesson import classroom
from sds_core.runs import new_run
from sds_core.runs.config import RunConfig
from sds_core.runs.experiment import experiments
from sds_core.runs.run_folder import ids, open_run
from tests.records import write_log


@pytest.fixture
def room(tmp_path, runs_root):
    folder = tmp_path / "class"
    folder.mkdir()
    return classroom.create(folder, "http://192.0.2.1:8502/code", {})


def made(experiment: str):
    """A run of an experiment, with weights, a note and a worker's messages."""
    run = new_run.create(RunConfig(model="somewhere", experiment=experiment, method="base", schedule="staged", phase=1))
    write_log(run, [])
    (run.folder / "phase1").mkdir()
    for name in ("phase1/block-000.safetensors", "note.txt", "stderr.txt"):
        (run.folder / name).write_text("secret")
    return run


def test_only_shared_experiments_are_there(room, monkeypatch):
    mine, other = made("mine"), made("other")
    room.share(["mine"])
    assert room.shared == ["mine"]
    monkeypatch.setenv("SDS_RUNS", str(room.runs))
    assert ids() == [mine.id] and [one.name for one in experiments()] == ["mine"]
    with pytest.raises(SDSError, match="no such run"):
        open_run(other.id)


def test_nothing_of_a_run_but_its_record_is_there(room):
    run = made("mine")
    room.share(["mine"])
    seen = sorted(path.name for path in (room.runs / run.id).iterdir())
    assert seen == ["config.json", "distributions", "events.jsonl", "lock", "result.json"]
    assert not any("secret" in path.read_text() for path in room.runs.rglob("*") if path.is_file())


def test_what_is_no_longer_shared_is_gone_and_the_run_stays(room):
    run = made("mine")
    room.share(["mine"])
    room.share([])
    assert not list(room.runs.iterdir()) and run.config.experiment == "mine"
    assert (run.folder / "note.txt").read_text() == "secret"


def test_a_run_made_later_is_there_after_a_refresh(room):
    room.share(["mine"])
    run = made("mine")
    room.refresh()
    assert [path.name for path in room.runs.iterdir()] == [run.id]


def test_a_result_that_comes_later_is_seen(room, monkeypatch):
    run = made("mine")
    room.share(["mine"])
    assert not (room.runs / run.id / "result.json").exists()
    (run.folder / "result.json").write_text("{}")
    assert (room.runs / run.id / "result.json").read_text() == "{}"


def test_a_server_without_a_class_knows_none(room, monkeypatch):
    monkeypatch.delenv(classroom.TEACHER, raising=False)
    assert classroom.current() is None
    monkeypatch.setenv(classroom.TEACHER, str(room.folder))
    assert classroom.current() == room and room.address == "http://192.0.2.1:8502/code" and room.votes.voters == 0
