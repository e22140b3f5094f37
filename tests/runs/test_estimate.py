"""Forecasts scale what an earlier run took, part by part."""

import json
from dataclasses import replace

import pytest

from sds_core.files import write_json
from sds_core.models.device import machine
from sds_core.runs.config import RunConfig
from sds_core.runs.estimate import Estimate, forecast, past_runs
from sds_core.runs.estimate import estimate as from_past
from sds_core.runs.new_run import create
from sds_core.runs.run_folder import Run
from tests.records import SOFTWARE, block_finished, layer_summary, run_result, write_log, write_result


def estimate(config: RunConfig, runs: list[Run]) -> Estimate | None:
    return from_past(config, past_runs(runs))


def past(phases=("", ""), **changes):
    """A finished run by hand: 50 s in each block, 30 of them solving; 20 s of measuring."""
    run = create(RunConfig(**{"samples": 15, "length": 512, "eval_windows": 16, "eval_length": 512} | changes))
    layers = (layer_summary(seconds=10.0), layer_summary(seconds=20.0))
    blocks = [block_finished(phase=phase or run.config.phases[0], seconds=50.0, layers=layers) for phase in phases]
    write_log(run, blocks)
    here = replace(SOFTWARE, machine=machine())
    write_result(run, run_result(measuring_seconds=20.0, peak_memory=123, weight_bytes=1000, software=here))
    return run


def test_the_same_again_takes_as_long():
    run = past()
    found = estimate(run.config, [run])
    assert (found.seconds, found.memory, found.disk) == (120.0, 123, 1000)


@pytest.mark.parametrize(
    ("changes", "seconds"),
    [
        ({"samples": 31}, 60 + 40 * 2 + 20),  # one window of each is held out
        ({"length": 1024}, 60 + 40 * 2 + 20),
        ({"eval_windows": 64}, 60 + 40 + 80),
    ],
)
def test_only_what_depends_on_tokens_grows_with_them(changes, seconds):
    run = past()
    config = RunConfig.from_dict(run.config.to_dict() | changes)
    assert estimate(config, [run]).seconds == pytest.approx(seconds)


def test_single_phase_forecast_and_dropped_weights():
    run = past(("sparse", "redense", "redense", "final", "final", "final"), schedule="staged")
    phase = RunConfig.from_dict(run.config.to_dict() | {"phase": 1, "keep_weights": False})
    found = estimate(phase, [run])
    assert found.seconds == pytest.approx(50 + 20 / 3) and found.disk == 0
    assert estimate(run.config, [run]).disk == 3000
    assert estimate(run.config, [run]).seconds == pytest.approx(300 + 20)


def test_epochs_matter_to_similarity_only_where_used():
    run = past(("sparse", "redense", "final"), schedule="staged", reconstruct="block")
    asked = run.config.to_dict() | {"reconstruct": "matrix"}
    assert estimate(RunConfig.from_dict(asked | {"phase": 1}), [run]).seconds == pytest.approx(50 + 20 / 3)
    assert estimate(RunConfig.from_dict(asked), [run]) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "other"},
        {"method": "sds"},
        {"pruner": "magnitude"},
        {"schedule": "staged"},
        {"device": "cpu"},
        {"threads": 1},
        {"reconstruct": "block"},
        {"options": {"rounds": 7}},
    ],
)
def test_without_a_like_run_nothing_is_promised(changes):
    assert estimate(RunConfig(), [past(**changes), create(RunConfig())]) is None


def test_foreign_and_broken_runs_are_skipped():
    good = past()
    elsewhere, torn, wrong, other_version = past(), past(), past(), past()
    write_result(elsewhere, run_result(software=replace(SOFTWARE, machine="a faster one")))
    (torn.folder / "result.json").write_text("{")
    (wrong.folder / "events.jsonl").write_text("nonsense\n{}\n")
    (other_version.folder / "config.json").write_text(json.dumps({"pruner": "nobody"}))
    bad = [elsewhere, torn, wrong, other_version]
    assert estimate(RunConfig(), bad) is None
    assert estimate(RunConfig(samples=15, eval_length=512), [*bad, good])


def test_branch_is_forecast_from_branches_by_own_blocks():
    whole = past(("sparse", "redense", "final"), schedule="staged", method="sds")
    parent = {"run": "gone", "phase": 1, "sha256": ""}
    asked = RunConfig.from_dict(whole.config.to_dict() | {"phase": 2, "parent": parent})
    run = create(RunConfig.from_dict(whole.config.to_dict() | {"phase": 1}))  # a branch, but for its configuration
    write_json(run.folder / "config.json", asked.to_dict())
    write_log(run, [block_finished(phase=name, seconds=10.0, layers=()) for name in ("sparse", "redense")])
    write_result(run, run_result(measuring_seconds=7.0, software=replace(SOFTWARE, machine=machine())))
    assert estimate(asked, [run, whole]).seconds == pytest.approx(10 + 7)
    assert estimate(RunConfig.from_dict(asked.to_dict() | {"phase": 3, "parent": parent | {"phase": 2}}), [run]) is None


def test_several_runs_add_up_and_the_unknown_are_named():
    run = past()
    other = RunConfig(method="sds")
    found = forecast([run.config, run.config, other], past_runs([run]))
    assert (found.seconds, found.memory, found.disk, found.unknown) == (240.0, 123, 2000, (other,))


def test_distillation_takes_as_long_as_its_tokens():
    model = {"reconstruct": "model", "reconstruct_windows": 8}
    run = past(("fused", "fused", "distilled"), **model)
    result = replace(run.finished_result(), seconds={"fused": 100.0, "distilled": 64.0})
    write_result(run, result)
    assert estimate(run.config, [run]).seconds == pytest.approx(100 + 20 + 64)
    longer = replace(run.config, length=1024)
    assert estimate(longer, [run]).seconds == pytest.approx(60 + 40 * 2 + 20 + 128)
    one_shot = replace(run.config, reconstruct="matrix", reconstruct_windows=0)
    assert estimate(one_shot, [run]).seconds == pytest.approx(100 + 10)
    assert estimate(replace(run.config, reconstruct_windows=9), [run]) is None
