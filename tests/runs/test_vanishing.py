"""Runs that vanish, and caches that cannot be written: no traceback, no orphan, and the work can go on."""

import shutil
import threading

import pytest

from sds_core.commands.records import list_runs
from sds_core.errors import SDSError
from sds_core.runs import note, worker
from sds_core.runs.config import RunConfig
from sds_core.runs.events import JobFailed
from sds_core.runs.new_run import create
from sds_core.runs.run_folder import ids
from sds_core.runs.worker import launch
from tests.small_runs import config, finish, work_here


def test_second_of_two_deletions_is_refused(runs_root):
    run = create(RunConfig())
    run.delete()
    for late in (run.delete, lambda: launch([run]), lambda: note.write(run, "late")):
        with pytest.raises(SDSError):
            late()
    run.cancel()
    assert not list(runs_root.iterdir())


def test_runs_are_listed_while_they_come_and_go(runs_root, capsys):
    kept, stop = create(RunConfig(title="kept")), threading.Event()

    def come_and_go():
        while not stop.is_set():
            create(RunConfig()).delete()

    threads = [threading.Thread(target=come_and_go) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(50):
            assert kept.id in ids() and list_runs(None) == 0
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert ids() == [kept.id]


def test_worker_whose_folder_is_moved_stops(tiny_folder, runs_root, tmp_path, monkeypatch, capsys):
    moved, sound = create(config(tiny_folder)), create(config(tiny_folder, method="base"))
    seen, look = [], worker.refuse_cancelled

    def move(job, *arguments):
        seen.append(job.id)
        if job.id == moved.id and seen.count(moved.id) == 5:
            shutil.move(moved.folder, tmp_path / "moved")
        look(job, *arguments)

    monkeypatch.setattr(worker, "refuse_cancelled", move)
    work_here([moved, sound])
    assert not moved.folder.exists() and sound.state() == "finished"
    assert f"the folder {moved.folder} is not there" in capsys.readouterr().err
    shutil.move(tmp_path / "moved", moved.folder)
    assert moved.state() == "interrupted"
    finish(moved)


def test_unwritable_cache_is_reported_and_the_run_resumes_later(tiny_folder, runs_root, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    run = create(config(tiny_folder))
    with monkeypatch.context() as patch:
        patch.setenv("SDS_CACHE", str(tmp_path / "file" / "cache"))
        work_here([run])
        assert run.state() == "failed"
        last = run.log.read()[-1]
        assert isinstance(last, JobFailed) and not last.internal and "Not a directory" in last.message
    finish(run)
