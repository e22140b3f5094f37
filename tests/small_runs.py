"""Runs on the tiny model that take a second, worked off in this process, and folders that all workers share."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from sds_core.errors import SDSError
from sds_core.runs import checkpoint
from sds_core.runs.config import RunConfig
from sds_core.runs.run_folder import Run
from sds_core.runs.worker import work


def config(folder: Path, **changes: Any) -> RunConfig:
    """A run on the tiny model that takes a second."""
    small = {
        "model": str(folder),
        "calibration": f"{folder}/text.txt@0-4000",
        "evaluation": f"{folder}/text.txt@5000-9000",
        "samples": 3,
        "length": 32,
        "eval_windows": 4,
        "eval_length": 32,
        "threads": 1,
    }
    return RunConfig.from_dict(small | changes)


def work_here(runs: list[Run]) -> None:
    """Work runs off as a worker does, but in this process: a second instead of five."""
    locks = [run.take_lock() for run in runs]
    for run in runs:
        (run.folder / "cancel").unlink(missing_ok=True)
    try:
        work(runs, locks)
    finally:
        torch.set_num_threads(1)


def finish(run: Run) -> Run:
    """Work a run off; it must succeed."""
    work_here([run])
    assert run.state() == "finished", run.log.read()[-1]
    return run


@contextmanager
def disk_full_at(name: str) -> Iterator[None]:
    """Refuse to store a block's weights whose path holds this name."""
    real = checkpoint.save_tensors

    def fill_up(path: Path, tensors: Any) -> None:
        if name in str(path):
            raise SDSError("no space left")
        real(path, tensors)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "save_tensors", fill_up)
        yield


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that one worker makes and all others read; they wait for it.

    Args:
        factory: of this worker; the folder lies where all workers have theirs.
        name: the folder's.
        make: fills the folder, which is empty.
    """
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    precision = torch.get_float32_matmul_precision()
    with open(folder.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            (part := folder.with_suffix(".part")).mkdir()
            make(part)
            part.rename(folder)
    torch.set_float32_matmul_precision(precision)  # a run chooses its own, and this process goes on with other tests
    return folder
