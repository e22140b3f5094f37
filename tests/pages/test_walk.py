"""Walk: every step, prediction and reveal, notes, a wrong address, missing examples, and the hand-out."""

import pytest
import torch

from sds_core.runs import examples
from sds_core.runs.archive import pack
from sds_core.runs.store import create
from sds_core.walk.findings import RUNS
from sds_core.walk.steps import STEPS
from tests.pages.conftest import tiny, work_off
from tests.pages.test_layer import keys
from tests.pages.test_run import address, texts

PAGE = "pages/walk.py"


@pytest.fixture(scope="session")
def packed(tiny_folder, tmp_path_factory):
    """The Walk's four runs on the tiny model, packed."""
    folder = tmp_path_factory.mktemp("walk-examples")
    precision = torch.get_float32_matmul_precision()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SDS_RUNS", str(tmp_path_factory.mktemp("walk-runs")))
        for name in RUNS:
            method, _, pruner = name.rpartition("-")
            options = {"sds": {"iterations": 3}, "sds-memory": {"rounds": 3}}.get(method, {})
            run = create(tiny(tiny_folder, method=method, pruner=pruner, options=options))
            pack(work_off(run), folder / f"{name}.zip")
    torch.set_float32_matmul_precision(precision)
    return folder


@pytest.fixture
def shipped(packed, runs, monkeypatch):
    monkeypatch.setattr(examples, "FOLDER", packed)


@pytest.fixture
def none_shipped(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(examples, "FOLDER", tmp_path)


@pytest.mark.parametrize("number", range(1, len(STEPS) + 1))
def test_every_step_asks_and_then_answers(shipped, app, number):
    at = app(PAGE, step=str(number))
    step = STEPS[number - 1]
    assert not at.exception and not at.error and step.question in texts(at)
    assert keys(at) == [] and step.why not in texts(at)
    at.button(key="walk-reveal").click().run()
    assert not at.exception and not at.error, at.error
    assert keys(at) == [f"walk-{number}"] and at.info[0].value == step.why
    assert "You were right" not in texts(at) and "Not what you said" not in texts(at)
