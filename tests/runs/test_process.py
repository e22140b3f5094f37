"""Processes that stay for the next job."""

import select
import signal
import socket
import subprocess
import sys

import pytest

from sds_core.runs import process
from sds_core.runs.new_run import create
from sds_core.runs.worker import launch
from tests.small_runs import config, work_here


@pytest.fixture(autouse=True)
def nobody_stays(monkeypatch):
    monkeypatch.setattr(process, "_staying", [])
    yield
    for one in process._staying:
        one.line.close()
        one.process.wait(20)


@pytest.fixture
def waiting():
    """A process that never answers, and both ends of the line to it."""
    sleeping = subprocess.Popen(["sleep", "60"])
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield process._Staying(sleeping, ours, {}, ()), theirs
    sleeping.kill()
    sleeping.wait()


def finished(run):
    """Wait until the only process that stays is free again; the run must be finished then."""
    (one,) = process._staying
    assert select.select([one.line], [], [], 60)[0] and run.state() == "finished", run.errors.read_text()
    return run


def test_the_next_job_goes_to_the_process_that_stayed(tiny_folder, runs_root):
    runs = [create(config(tiny_folder, seed=seed)) for seed in (1, 2)]
    first = launch(runs[:1], stay=True)
    finished(runs[0])
    assert launch(runs[1:], stay=True) is first
    alone = create(config(tiny_folder, seed=2))
    work_here([alone])
    assert finished(runs[1]).stage_digest("final") == alone.stage_digest("final")
    assert first.poll() is None
    assert all(run.errors.read_text().count("100%") == 1 for run in runs), "each has its own"


def test_a_job_of_another_environment_starts_a_process_and_two_stay(tmp_path, monkeypatch, waiting):
    staying, theirs = waiting
    lines = []

    def start(command, locks, errors, environment, line=None):
        lines.append(line)
        return staying.process

    monkeypatch.setattr(process, "_start", start)
    process._staying.append(staying)
    theirs.send(process.FREE)
    for _ in range(2):
        process.start_process(["work"], [], tmp_path / "stderr.txt", tmp_path, stay=True)
    assert [line is None for line in lines] == [False, True]
    process._staying.clear()


def test_a_process_that_would_execute_older_code_takes_nothing(tmp_path, monkeypatch, waiting):
    staying, theirs = waiting
    monkeypatch.setattr(process, "_environment", lambda runs: staying.environment)
    monkeypatch.setattr(process, "_start", lambda *_: None)
    monkeypatch.setattr(process, "code_identity", lambda own: ("torch 0",))
    process._staying.append(staying)
    theirs.send(process.FREE)
    assert process.start_process(["work"], [], tmp_path / "stderr.txt", tmp_path, stay=True) is None
    process._staying.clear()


def test_a_process_at_work_or_gone_takes_nothing(waiting):
    staying, theirs = waiting
    assert not staying.take(["work"], 0, [])
    theirs.send(process.FREE)
    theirs.close()
    assert not staying.take(["work"], 0, [])
    assert staying.process.poll() is None


def test_a_process_that_hangs_is_ended(waiting, monkeypatch):
    staying, theirs = waiting
    monkeypatch.setattr(process, "PROMPTNESS", 0.1)
    theirs.send(process.FREE)
    assert not staying.take(["work"], 0, [])
    assert staying.process.wait(10) == -signal.SIGKILL


def test_a_process_stays_no_longer_than_it_is_patient():
    ours, theirs = socket.socketpair()
    script = f"from sds_core.runs import process; process.PATIENCE = 0.1; process.stay({theirs.fileno()}, print)"
    patient = subprocess.Popen([sys.executable, "-c", script], pass_fds=[theirs.fileno()])
    theirs.close()
    with ours:
        assert ours.recv(10) == process.FREE
        assert patient.wait(10) == 0
