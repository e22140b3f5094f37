"""Runs in a folder of their own, and one finished run to look at."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from sds_core.runs.config import RunConfig
from sds_core.runs.run_folder import Run, create
from sds_core.runs.worker import work


@pytest.fixture(autouse=True)
def runs_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SDS_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


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


@pytest.fixture(scope="session")
def finished(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A finished fused `sds-memory` run; read only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SDS_RUNS", str(tmp_path_factory.mktemp("finished")))
        yield finish(create(config(tiny_folder)))
