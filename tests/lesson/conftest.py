"""The four examples of the Walk, of the tiny model, opened."""

from pathlib import Path

import pytest

from sds_core.lesson.findings import RUNS, Evidence, open_runs
from sds_core.runs import examples, layer_stats


@pytest.fixture
def evidence(walk_examples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Evidence:
    monkeypatch.setenv("SDS_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(examples, "FOLDER", walk_examples)
    runs = open_runs(*RUNS)
    return Evidence(runs, {name: layer_stats.load(run.folder) for name, run in runs.items()})
