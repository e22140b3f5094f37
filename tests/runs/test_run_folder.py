import os
import secrets

import pytest

from sds_core import __version__
from sds_core.errors import SDSError
from sds_core.files import TEMPORARY
from sds_core.runs import lock, new_run, typed_json
from sds_core.runs.branch import as_parent
from sds_core.runs.config import RunConfig
from sds_core.runs.events import JobCancelled, JobFailed, JobQueued
from sds_core.runs.new_run import create, create_all
from sds_core.runs.run_folder import ids, open_run
from tests.records import block_finished

BAD = ["../x", "/etc/passwd", "a/b", "", ".", "A", "a\x00b", "x" * 300, "-a", "a_b", "runs/../../x"]


@pytest.mark.parametrize("run", BAD)
def test_run_id_that_escapes_is_refused(run, runs_root):
    create(RunConfig())
    with pytest.raises(SDSError, match="not a run id: got"):
        open_run(run)


def test_unknown_run_id_is_refused(runs_root):
    create(RunConfig())
    with pytest.raises(SDSError, match="there is no such run: got 'zz'"):
        open_run("zz")


def test_a_link_out_of_the_folder_is_refused(runs_root, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "config.json").write_text("{}")
    runs_root.mkdir()
    (runs_root / "link").symlink_to(outside)
    with pytest.raises(SDSError, match="is a link"):
        open_run("link")


def test_a_new_run_is_listed_opened_and_deleted(runs_root):
    run = create(RunConfig(title="mine"))
    assert ids() == [run.id]
    assert open_run(run.id).config.title == "mine"
    assert run.state() == "new"
    run.delete()
    assert ids() == []
    assert not run.folder.exists()


def test_ids_are_newest_first():
    first, second = create(RunConfig()), create(RunConfig(method="base"))
    os.utime(first.folder / "config.json", ns=(1, 1))
    assert ids() == [second.id, first.id]


def test_states_follow_lock_result_and_last_event(monkeypatch):
    monkeypatch.setattr(lock, "PATIENCE", 0.05)
    run = create(RunConfig())
    descriptor = run.take_lock()
    assert run.state() == "running"
    log = run.writer()
    log.append(JobQueued(behind="other"))
    assert run.state() == "queued"
    log.append(block_finished())
    assert run.state() == "running"
    with pytest.raises(SDSError, match="being worked on"):
        run.take_lock()
    with pytest.raises(SDSError, match="being worked on"):
        run.delete()
    os.close(descriptor)
    assert run.state() == "interrupted"
    for state, event in (("failed", JobFailed(message="x")), ("cancelled", JobCancelled(message="x"))):
        log.append(event)
        assert run.state() == state
    (run.folder / "result.json").write_text("{}")
    assert run.state() == "finished"


def test_broken_configuration_or_result_is_reported():
    run = create(RunConfig())
    (run.folder / "result.json").write_text("{")
    with pytest.raises(SDSError, match="result of run"):
        run.result()
    (run.folder / "config.json").write_text("{")
    with pytest.raises(SDSError, match="configuration of run"):
        _ = run.config


@pytest.mark.parametrize(
    ("version", "weights", "said"),
    [
        (__version__, True, "is broken: surprise is not a known field. Delete result.json and resume"),
        (__version__, False, "is broken: surprise is not a known field. Import or repeat the run"),
        ("99.1", True, rf"another version of SDS Studio: .*: got '99.1'; allowed: {__version__}"),
    ],
)
def test_only_a_result_of_ours_that_can_be_made_again_is_to_be_deleted(version, weights, said):
    run = create(RunConfig())
    typed_json.write(run.folder / "result.json", {"software": {"version": version}, "surprise": 1})
    if weights:
        run.make_folder("phase1")
    with pytest.raises(SDSError, match=said):
        run.result()


def test_id_that_is_taken_leaves_the_other_run_alone(monkeypatch):
    monkeypatch.setattr(secrets, "token_hex", lambda n: "abc123")
    run = create(RunConfig(title="mine"))
    with pytest.raises(SDSError):
        create(RunConfig())
    assert run.config.title == "mine"


def test_a_run_without_a_finished_phase_is_no_parent():
    with pytest.raises(SDSError, match="no finished phase 1"):
        as_parent(create(RunConfig(schedule="staged", phase=1, method="sds")), 1)


def test_what_is_cut_short_leaves_no_run(runs_root, monkeypatch):
    def interrupt(path, values):
        assert TEMPORARY.fullmatch(path.parent.name), "a kill leaves what is removed in time"
        raise KeyboardInterrupt

    monkeypatch.setattr(new_run.typed_json, "write", interrupt)
    with pytest.raises(KeyboardInterrupt):
        create(RunConfig())
    assert not list(runs_root.iterdir())


def test_of_several_runs_none_stays_where_one_cannot_be_created(runs_root, monkeypatch):
    write, left = new_run.typed_json.write, [1]

    def fill_up(path, values):
        if not left:
            raise SDSError("no space left")
        left.pop()
        write(path, values)

    monkeypatch.setattr(new_run.typed_json, "write", fill_up)
    with pytest.raises(SDSError, match="no space left"):
        create_all([RunConfig(), RunConfig(method="base")])
    assert not list(runs_root.iterdir())
