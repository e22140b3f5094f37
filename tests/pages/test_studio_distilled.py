"""The Studio where models are distilled after their phases: the button, the last station and its curve."""

import json

import numpy as np
import pytest

from pages.ui.pictures.wire import pack_values
from sds_core.pruning.registry import BUILT_IN
from sds_core.runs import experiment
from sds_core.runs.distillation_curve import steps_of_record
from sds_core.runs.launch_phases import runs_for
from sds_core.runs.variant import Variant
from tests.small_runs import config, work_here

PLAN = {"reconstruct": "model", "reconstruct_windows": 4, "reconstruct_rate": 0.02}
WANDA = Variant("base", "wanda", **PLAN)


@pytest.fixture
def pruned(tiny_folder, runs):
    """An experiment whose phase 1 is done."""
    found = experiment.with_settings(config(tiny_folder))
    work_here(runs_for(found, [WANDA], 1, BUILT_IN))
    return experiment.find(found.name)


def drawn(at) -> dict:
    assert not at.exception and not at.error, [one.value for one in at.error]
    (picture,) = at.get("bidi_component")
    (numbers,) = json.loads(picture.proto.json)
    return numbers


def test_distilling_is_the_phase_after_the_methods_own(pruned, app):
    at = app(experiment=pruned.name)
    assert "then" not in drawn(at)["runs"][0]
    at.session_state["option-reconstruct"], at.session_state["studio-methods"] = "model", []
    at.run()
    assert at.button(key="phase").label == "Distil"
    (then,) = [run["then"] for run in drawn(at)["runs"] if run["name"] == "Wanda"]
    assert (then["done"], then["of"]) == (0, 0) and then["why"] == "This phase has not been run."


def test_the_last_station_shows_curve_and_gain(pruned, app):
    (run,) = runs_for(pruned, [WANDA], 4, BUILT_IN)
    work_here([run])
    shown = drawn(app(experiment=pruned.name))
    column = next(run for run in shown["runs"] if run["name"] == "Wanda")
    then, result = column["then"], run.finished_result()
    steps = steps_of_record(run.log.read())
    assert (then["done"], then["of"]) == (4, 4) and len(steps) == 5
    assert then["held_out"] == pack_values(one.held_out for one in steps)
    assert then["seen"] == pack_values(one.loss for one in steps)
    after, before = result.perplexity["distilled"], result.perplexity["sparse"]
    assert then["perplexity"]["value"] == pytest.approx(after.value)
    assert then["change"]["value"] == pytest.approx(np.exp(np.mean(after.losses) - np.mean(before.losses)) - 1)
    assert list(column["cells"]) == ["sparse"] and "why" not in then
