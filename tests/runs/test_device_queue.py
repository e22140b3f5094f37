"""Who waits for a device: first come, first served, and each names the next ahead."""

import os
import threading
import time

import pytest

from sds_core.files import cache_folder
from sds_core.models.device import device_name, pick_device
from sds_core.runs import lock
from sds_core.runs.device_queue import ABANDONED, device_to_itself


@pytest.fixture
def device(tmp_path, monkeypatch):
    """A cache with nobody in it, and short patience; the device's lock."""
    monkeypatch.setenv("SDS_CACHE", str(tmp_path))
    monkeypatch.setattr(lock, "PATIENCE", 0.05)
    return cache_folder() / f"{device_name(pick_device('cpu'))}.lock"


class Waiting(threading.Thread):
    """A job that waits for the device, and what it logs meanwhile."""

    def __init__(self, name, launched, done):
        super().__init__(daemon=True)
        self.job, self.launched, self.done, self.behind = name, launched, done, []
        self.start()
        while not self.behind:
            time.sleep(0.01)

    def append(self, event):
        self.behind.append(event.behind)

    def run(self):
        with device_to_itself("cpu", self.job, self.launched, self, lambda: False):
            self.done.append(self.job)


def test_jobs_run_in_launch_order_naming_the_next(device, monkeypatch):
    pids = iter(range(100))
    monkeypatch.setattr(os, "getpid", lambda: next(pids))
    holder = lock.take(device, "holder")
    done = []
    jobs = [Waiting(name, launched, done) for name, launched in [("c", 3.0), ("a", 1.0), ("d", 4.0), ("b", 2.0)]]
    deadline = time.monotonic() + 10
    last = {"a": "holder", "b": "a", "c": "b", "d": "c"}
    while {job.job: job.behind[-1] for job in jobs} != last and time.monotonic() < deadline:
        time.sleep(0.02)
    assert {job.job: job.behind[-1] for job in jobs} == last
    os.close(holder)
    for job in jobs:
        job.join(10)
    assert done == ["a", "b", "c", "d"]
    assert not list(device.with_suffix(".queue").iterdir())


def test_ticket_of_a_dead_process_blocks_nobody(device):
    queue = device.with_suffix(".queue")
    queue.mkdir(parents=True)
    for name in ("0-1", "0-2"):
        (queue / name).touch()
    os.utime(queue / "0-1", (time.time() - ABANDONED - 1,) * 2)
    with device_to_itself("cpu", "mine", 5.0, None, lambda: False):
        assert lock.held(device) and lock.owner(device).run == "mine"
        assert [path.name for path in queue.iterdir()] == ["0-2"]
    assert not lock.held(device)


def test_process_names_its_current_job(device):
    with device_to_itself("cpu", "first", 5.0, None, lambda: False) as now:
        now("second")
        assert lock.owner(device).run == "second"


def test_a_cancelled_job_leaves_the_queue(device):
    holder = lock.take(device, "holder")
    with device_to_itself("cpu", "mine", 5.0, None, lambda: True):
        assert lock.owner(device).run == "holder"
    os.close(holder)
    assert not list(device.with_suffix(".queue").iterdir())
