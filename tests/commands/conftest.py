"""The command line on the tiny model, in a folder of runs of the test's own."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.small_runs import work_here

SMALL = "--samples 3 --length 32 --eval-windows 4 --eval-length 32 --threads 1"


@pytest.fixture(autouse=True)
def own_runs(runs_root: Path) -> None:
    pass


@pytest.fixture
def small(tiny_folder: Path) -> Callable[..., list[str]]:
    """Return the flags of a run that takes a second, and any others."""
    text = [f"--calibration={tiny_folder}/text.txt@0-4000", f"--evaluation={tiny_folder}/text.txt@5000-9000"]
    return lambda *words: ["--model", str(tiny_folder), *text, *SMALL.split(), *words]


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work runs off here instead of in a process of their own."""

    def launch(runs):
        work_here(runs)
        return SimpleNamespace(poll=lambda: 0, wait=lambda: 0)

    monkeypatch.setattr("sds_core.commands.follow.launch", launch)
