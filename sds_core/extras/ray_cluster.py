"""Run on a Ray cluster (an optional extra): one task per run, which starts the ordinary worker on its machine.

Ray only chooses the machine. The record is in the run's folder, as always, so the folder of runs and the models must be
at the same path on every machine.
"""

import os
from dataclasses import dataclass
from typing import Any

from sds_core.errors import SDSError
from sds_core.runs.plugin_flag import VARIABLE
from sds_core.runs.run_folder import Run, open_run, root
from sds_core.runs.worker import launch
from sds_core.subprocess_environment import python_path

LOCAL = "local"
"""The address of a cluster on this machine alone, started for these runs and stopped with this process."""
STORE = 80 << 20
"""Bytes of a local cluster's object store, about the minimum: nothing but exit codes goes through it."""
FORWARDED = ("SDS_CACHE", VARIABLE, "HF_HOME", "HF_HUB_OFFLINE")
"""Environment variables that a remote worker needs, besides the places of the package and the runs."""


@dataclass
class Task:
    """One run's task, followed like a worker process."""

    ray: Any
    run: Run
    reference: Any
    code: int | None = None

    def poll(self) -> int | None:
        """The worker's exit code, or None while the task waits or works."""
        return self.wait() if self.code is not None or self.ray.wait([self.reference], timeout=0)[0] else None

    def wait(self) -> int:
        """Wait for the worker's exit code; 1 if the task ended without one (its error is in the run's `stderr.txt`)."""
        if self.code is None:
            try:
                self.code = self.ray.get(self.reference)
            except self.ray.exceptions.RayError as error:
                with open(self.run.errors, "a", encoding="utf-8") as file:
                    file.write(f"{error}\n")
                self.code = 1
        assert self.code is not None
        return self.code


def submit(ray: Any, runs: list[Run]) -> list[Task]:
    """Submit each run to Ray as a task; tasks start as machines become free.

    A run takes as many CPUs as the smallest machine has, or as its `threads` say, and a GPU if the cluster has any:
    two that share a device would only wait for each other at its lock.

    Args:
        ray: as `connect` returns it.
        runs: created, not started.
    """
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    cores = int(min((machine["CPU"] for machine in machines), default=1))
    gpus = any(machine.get("GPU") for machine in machines)
    work = ray.remote(_work)
    tasks = []
    for run in runs:
        on_gpu = gpus and run.config.device != "cpu"
        cpus = run.config.threads or (1 if on_gpu else cores)
        placed = work.options(
            name=run.id, num_cpus=cpus, num_gpus=int(on_gpu), max_retries=0, scheduling_strategy="SPREAD"
        )
        tasks.append(Task(ray, run, placed.remote(run.id)))
    return tasks


def connect(address: str) -> Any:
    """Connect to a cluster; usage statistics are off, and a local cluster listens on this machine alone.

    Args:
        address: `local`, or what `ray.init` takes: `auto`, HOST:PORT, ray://HOST:PORT.

    Raises:
        SDSError: Ray is not installed, or there is no cluster at that address.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if address == LOCAL:  # like the line above read when Ray is imported; without it Ray listens to the whole network
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    try:
        import ray
    except ImportError:
        raise SDSError("Ray is not installed", cure="run: pip install ray==2.60.0") from None
    known = {name: os.environ[name] for name in FORWARDED if name in os.environ}
    environment = {"env_vars": known | {"PYTHONPATH": python_path(), "SDS_RUNS": str(root())}}
    common: dict[str, Any] = {"runtime_env": environment, "log_to_driver": False, "logging_level": "error"}
    try:
        if address == LOCAL:
            ray.init(LOCAL, include_dashboard=False, object_store_memory=STORE, **common)
        else:
            ray.init(address, **common)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise SDSError(
            f"no Ray cluster can be reached: {error}", got=address, allowed="local, auto, HOST:PORT"
        ) from error
    return ray


def _work(run_id: str) -> int:
    """Run an ordinary worker for one run; return its exit code."""
    run = open_run(run_id)
    return 0 if run.cancel_requested else launch([run]).wait()
