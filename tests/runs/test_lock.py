import os
import signal
import subprocess
import sys
import time

import pytest

from sds_core.runs import lock


def child_holding(path, descriptor):
    """A process that inherits the lock and sleeps."""
    code = "import sys, time; print('ready', flush=True); time.sleep(60)"
    process = subprocess.Popen(
        [sys.executable, "-c", code], pass_fds=[descriptor], stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


def test_lock_passes_to_the_worker_and_ends_with_it(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "PATIENCE", 0.05)
    path = tmp_path / "lock"
    descriptor = lock.take(path)
    assert descriptor is not None
    process = child_holding(path, descriptor)
    try:
        os.close(descriptor)
        assert lock.held(path)
        assert lock.take(path) is None
    finally:
        os.kill(process.pid, signal.SIGKILL)
    process.wait(10)
    deadline = time.monotonic() + 5
    while lock.held(path) and time.monotonic() < deadline:
        time.sleep(0.01)
    again = lock.take(path)
    assert again is not None
    os.close(again)


def test_owner_and_time_are_reported(tmp_path):
    path = tmp_path / "lock"
    descriptor = lock.take(path)
    assert descriptor is not None
    since = lock.owner(path).since
    assert abs(since - time.time()) < 60
    message = str(lock.refuse_second(path, "run-1"))
    os.close(descriptor)
    assert f"run run-1 is being worked on by process {os.getpid()} since " in message
    assert time.strftime("%H:%M:%S", time.localtime(since)) in message


def test_looking_does_not_take(tmp_path):
    path = tmp_path / "lock"
    assert not lock.held(path)
    descriptor = lock.take(path)
    assert descriptor is not None
    assert lock.held(path)
    os.close(descriptor)
    assert not lock.held(path)


@pytest.mark.parametrize("content", ["", "{", "1", '{"pid": "x"}', '{"since": 1e300}'])
def test_an_unreadable_note_of_the_owner_is_no_error(tmp_path, content):
    (tmp_path / "lock").write_text(content)
    assert lock.owner(tmp_path / "lock") is None
