"""Runs handed to Ray: a cluster of this machine, and a stand-in for what needs none."""

import builtins
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from sds_core.__main__ import main
from sds_core.errors import SDSError
from sds_core.extras import ray_cluster
from sds_core.runs.new_run import create
from tests.small_runs import config

ROOT = Path(__file__).parents[2]
GRID = "--patterns 50% --seeds 0 --methods base:magnitude base:wanda --samples 3 --length 32 --eval-windows 4"
TEXTS = "--eval-length 32 --threads 1 --calibration python-docs@0-4000 --evaluation python-docs@5000-9000"


class Cluster:
    """What `submit` asks of Ray: machines, and tasks that only note what they ask for."""

    exceptions = SimpleNamespace(RayError=LookupError)

    def __init__(self, *machines):
        self.machines, self.asked = machines, []

    def nodes(self):
        return [{"Alive": True, "Resources": machine} for machine in self.machines]

    def remote(self, function):
        assert function is ray_cluster._work
        return SimpleNamespace(options=self.options)

    def options(self, **options):
        self.asked.append(options)
        return SimpleNamespace(remote=lambda run: run)

    def wait(self, references, timeout):
        return (references, []) if references[0] != "waits" else ([], references)

    def get(self, reference):
        raise LookupError("the machine is gone")


@pytest.mark.parametrize(
    ("machines", "changes", "cpus", "gpus"),
    [
        ([{"CPU": 8.0}, {"CPU": 4.0}, {}], {"threads": 0}, 4, 0),
        ([{"CPU": 8.0}], {"threads": 2}, 2, 0),
        ([{"CPU": 8.0, "GPU": 2.0}], {"threads": 0}, 1, 1),
        ([{"CPU": 8.0, "GPU": 2.0}], {"threads": 0, "device": "cpu"}, 8, 0),
    ],
)
def test_a_run_asks_for_what_it_will_use(tiny_folder, machines, changes, cpus, gpus):
    cluster = Cluster(*machines)
    run = create(config(tiny_folder, **changes))
    (task,) = ray_cluster.submit(cluster, [run])
    (asked,) = cluster.asked
    assert (asked["num_cpus"], asked["num_gpus"], asked["max_retries"]) == (cpus, gpus, 0)
    assert task.reference == run.id


def test_lost_task_ends_with_a_code_and_its_reason(tiny_folder):
    run = create(config(tiny_folder))
    assert ray_cluster.Task(Cluster(), run, "waits").poll() is None
    lost = ray_cluster.Task(Cluster(), run, "gone")
    assert lost.poll() == lost.wait() == 1
    assert (run.folder / "stderr.txt").read_text() == "the machine is gone\n"


def test_a_task_of_a_cancelled_run_starts_nothing(tiny_folder, monkeypatch):
    monkeypatch.setattr(ray_cluster, "launch", lambda _: pytest.fail("a worker was started"))
    run = create(config(tiny_folder))
    run.cancel()
    assert ray_cluster._work(run.id) == 0 and run.state() == "new"


def test_without_ray_the_cure_is_named(monkeypatch):
    real = builtins.__import__

    def refuse(name, *rest):
        if name == "ray":
            raise ImportError
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    requirement = (ROOT / "requirements-ray.txt").read_text("utf-8").strip()
    with pytest.raises(SDSError, match=f"Ray is not installed. Run: pip install {re.escape(requirement)}"):
        ray_cluster.connect("local")


def test_slurm_and_ray_exclude_each_other(capsys):
    with pytest.raises(SystemExit):
        main(["sweep", "--patterns", "50%", "--ray", "local", "--slurm", "x.sh"])
    assert "not allowed with" in capsys.readouterr().err


def sweep(folder, runs_root, *words):
    """The command, as a user starts it."""
    return subprocess.Popen(
        [sys.executable, "-m", "sds_core", "sweep", "--ray", "local", *GRID.split(), *TEXTS.split(), *words],
        cwd=ROOT,
        env=os.environ | {"SDS_RUNS": str(runs_root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def states(runs_root):
    return [ray_cluster.open_run(path.parent.name).state() for path in sorted(runs_root.glob("*/config.json"))]


def test_local_cluster_executes_all_runs_despite_a_failure(tiny_folder, runs_root, tmp_path):
    pytest.importorskip("ray")
    (tmp_path / "broken").mkdir()
    process = sweep(tiny_folder, runs_root, "--models", str(tmp_path / "broken"), str(tiny_folder))
    out, err = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "this folder holds no model" in err and "Traceback" not in err
    assert states(runs_root) == ["finished"] * 2, "of runs that did nothing, nothing is kept"
    assert out.count("50.0000%") == 2


def test_ctrl_c_cancels_running_and_waiting_runs(tiny_folder, runs_root):
    pytest.importorskip("ray")
    process = sweep(tiny_folder, runs_root, "--models", str(tiny_folder))
    deadline = time.monotonic() + 200
    while "running" not in states(runs_root) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=200)
    assert process.returncode in (0, 1) and "Traceback" not in err
    assert not {"running", "queued", "interrupted"} & set(states(runs_root))
