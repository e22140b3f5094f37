"""The Studio page in all its states."""

import fcntl
import json
import os

import pytest
from streamlit.testing.v1 import AppTest

from pages.ui.pictures.wire import pack_curve
from pages.ui.variant_labels import titles
from sds_core.errors import SDSError
from sds_core.models.device import devices
from sds_core.pruning.registry import BUILT_IN
from sds_core.runs import experiment, lock
from sds_core.runs.dense_layers import dense_layers
from sds_core.runs.events import JobCancelled, JobFailed, JobQueued, PhaseStarted
from sds_core.runs.job_folder import JobFolder
from sds_core.runs.launch_phases import Plan, cancelled, plan_lock, runs_for
from sds_core.runs.layer_numbers import LOW, block_files, read_block
from sds_core.runs.new_run import create
from sds_core.runs.presets import PRESETS
from sds_core.runs.run_folder import ids, open_run
from sds_core.runs.variant import Variant
from tests.pages.conftest import APP, SDS, WANDA
from tests.records import block_finished, layer_summary, model_loaded
from tests.small_runs import config, finish

PAGE = "pages/studio.py"


@pytest.fixture
def launched(monkeypatch):
    """Configurations that were given a worker; none is started."""
    started = []
    monkeypatch.setattr("sds_core.runs.worker.launch", lambda given, **_: started.extend(run.config for run in given))
    return started


@pytest.fixture
def held(monkeypatch):
    """Take a run's lock: it looks alive without a process."""
    taken = []

    def hold(run) -> None:
        taken.append(os.open(run.lock_path, os.O_RDWR | os.O_CREAT))
        fcntl.flock(taken[-1], fcntl.LOCK_EX)

    yield hold
    for descriptor in taken:
        os.close(descriptor)


def drawn(at) -> dict:
    """The numbers of the picture."""
    assert not at.exception and not at.error, [one.value for one in at.error]
    (picture,) = at.get("bidi_component")
    (numbers,) = json.loads(picture.proto.json)
    return numbers


def open_with(**typed: object) -> AppTest:
    """The page with values in its boxes: AppTest cannot type what is not among a box's options."""
    at = AppTest.from_file(APP, default_timeout=60)
    for name, value in typed.items():
        at.session_state[f"option-{name}"] = value
    at.switch_page(PAGE)
    return at.run()


def test_without_runs_the_first_phase_is_offered_and_examples(runs, app):
    at = app(PAGE)
    assert not at.exception
    assert at.button(key="phase").label == "Prune" and not at.button(key="phase").disabled
    assert at.button(key="examples").label == "Show the examples"
    assert at.selectbox(key="option-model").value == "demo"


def test_before_any_run_the_demo_shows_its_dense_layers(runs, app):
    shown = drawn(app(PAGE, layer="3.mlp.up_proj"))
    assert shown["blocks"] == 30 and shown["layer"]["at"] == 3 * 7 + shown["linears"].index("mlp.up_proj")
    assert shown["layer"]["dense"]["curve"] == pack_curve(dense_layers()[3, "mlp.up_proj"].density)
    assert all("curve" not in cell for run in shown["runs"] for cell in run["cells"].values())


def test_phase_button_starts_all_runs_in_one_worker(runs, launched, tiny_folder):
    small = vars(config(tiny_folder))
    at = open_with(**{name: small[name] for name in ("model", "calibration", "evaluation")})
    at.number_input(key="option-samples").set_value(3).run()
    at.button_group(key="studio-pruners").set_value(["wanda", "magnitude"]).run()
    assert at.button(key="phase").help.startswith("Phase 1 of 3: Magnitude, Wanda.")
    at.button(key="phase").click().run()
    assert not at.exception and not at.error
    assert [(one.method, one.pruner, one.phase) for one in launched] == [("base", "magnitude", 1), ("base", "wanda", 1)]
    assert {one.experiment for one in launched} == {"tiny-2-4"}
    assert at.query_params["experiment"] in ("tiny-2-4", ["tiny-2-4"])
    assert launched[0].samples == 3 and launched[0].length == PRESETS["quick"]["length"]


@pytest.mark.parametrize("model", ["/nowhere/model", "gone.gguf", "a b"])
def test_wrong_model_name_is_reported_at_once(runs, model):
    at = open_with(model=model)
    assert model in at.error[0].value and not at.exception
    assert at.button(key="phase").disabled and at.button(key="all-phases").disabled


def test_unknown_model_is_refused_without_a_run(runs, launched):
    at = open_with(model="no-such/model-at-all", calibration="python-docs")
    assert not at.error
    at.button(key="phase").click().run()
    assert "no-such/model-at-all" in at.error[0].value
    assert not launched and ids() == []


def test_own_text_that_was_never_written_is_told_before_a_start(runs, launched, tmp_path, monkeypatch):
    monkeypatch.setenv("SDS_CACHE", str(tmp_path))
    at = open_with(model="no-such/model-at-all", calibration="self")
    assert "has not written any calibration text yet" in at.error[0].value and at.button(key="phase").disabled
    at.button(key="take-docs").click().run()
    assert not at.error and not at.exception and not at.button(key="phase").disabled


def test_a_model_that_is_none_leaves_a_way_on(runs, launched):
    at = open_with(model="/nowhere/at/all", calibration="self")
    assert "no such model folder" in at.error[0].value and "nothing to show" in at.caption[-1].value
    assert not [one for one in at.button if one.key == "take-docs"]
    at.button(key="take-demo").click().run()
    assert not at.error and at.selectbox(key="option-model").value == "demo" and at.get("bidi_component")


def test_a_finished_experiment_is_shown_without_its_model(stepped, app, monkeypatch):
    monkeypatch.setattr("pages.ui.outlook.checked_model", lambda name: (None, "there is no such model folder"))
    at = app(PAGE)
    assert not at.error and drawn(at)["runs"]
    at.button_group(key="studio-methods").set_value(["sds-admm"]).run()
    assert "no such model folder" in at.error[0].value and at.button(key="phase").disabled
    assert at.get("bidi_component")


def test_contradiction_is_reported_and_offers_no_phase(runs):
    at = open_with(pattern="5:4")
    assert "5:4" in at.error[0].value and not at.exception
    assert not [one for one in at.button if one.key == "phase"]


def test_a_finished_experiment_shows_every_perplexity_and_the_gain(stepped, app):
    at = app(PAGE)
    shown = drawn(at)
    assert [run["key"] for run in shown["runs"]] == ["wanda", "sds-wanda"]
    measured = stepped.run_of(SDS, 3).result().perplexity
    cells = shown["runs"][1]["cells"]
    for stage in ("sparse", "redense", "final"):
        assert cells[stage]["perplexity"]["value"] == pytest.approx(measured[stage].value)
        assert cells[stage]["perplexity"]["ratio"] == pytest.approx(measured[stage].value / measured["dense"].value)
    assert cells["sparse"]["same"] == "Wanda" and "same" not in cells["final"]
    assert shown["dense"]["value"] == pytest.approx(measured["dense"].value)
    gained = measured["final"].value / measured["sparse"].value - 1
    assert shown["runs"][1]["change"]["value"] == pytest.approx(gained)
    assert at.button(key="phase").disabled


def test_the_first_layer_shown_has_the_largest_error(stepped, app):
    shown = drawn(app(PAGE))
    folder = stepped.run_of(SDS, 3).folder
    losses = {}
    for block, paths in block_files(folder).items():
        for path in paths:
            for (linear, stage, number), layer in read_block(path).items():
                if (stage, number) == ("final", 0):
                    losses[block, linear] = layer.loss
    worst = max(losses, key=losses.get)
    assert shown["layer"]["at"] == worst[0] * len(shown["linears"]) + shown["linears"].index(worst[1])
    assert shown["layer"]["low"] == pytest.approx(LOW)


def test_the_address_chooses_run_layer_stage_and_quantity(stepped, app):
    asked = {"run": "wanda", "layer": "1.mlp.up_proj", "stage": "sparse", "show": "held_out"}
    shown = drawn(app(PAGE, experiment=stepped.name, **asked))
    assert shown["view"] | {"run": "wanda", "stage": "sparse", "quantity": "held_out"} == shown["view"]
    assert shown["layer"]["at"] == 7 + shown["linears"].index("mlp.up_proj")
    assert shown["map"]["run"] == "wanda" and shown["map"]["stage"] == "sparse"
    (path,) = block_files(stepped.run_of(SDS, 1).folder)[1]
    layer = read_block(path)["mlp.up_proj", "sparse", 0]
    assert shown["runs"][0]["cells"]["sparse"]["curve"] == pack_curve(layer.density)


@pytest.mark.parametrize("asked", [{"run": "gone"}, {"layer": "99.x"}, {"stage": "x"}, {"show": "x"}, {"round": "²"}])
def test_unknown_values_in_the_address_fall_back(stepped, app, asked):
    assert drawn(app(PAGE, experiment=stepped.name, **asked))["view"] == drawn(app(PAGE))["view"]


def test_rounds_are_those_of_the_record(stepped, app):
    shown = drawn(app(PAGE, run="sds-wanda"))
    assert shown["rounds"]["run"] == "sds-wanda"
    assert [one["number"] for one in shown["rounds"]["list"]] == [1, 2]
    assert shown["rounds"]["list"][-1]["redense"]["loss"] == shown["runs"][1]["cells"]["redense"]["loss"]


def test_unknown_experiment_is_reported(stepped, app):
    at = app(PAGE, experiment="gone")
    assert "no experiment “gone”" in at.error[0].value and not at.exception


def test_another_method_is_a_branch_of_the_same_experiment(stepped, app, launched):
    at = app(PAGE)
    at.button_group(key="studio-pruners").set_value(["wanda"])
    at.button_group(key="studio-methods").set_value(["sds", "sds-admm"]).run()
    assert at.button(key="phase").label == "Re-dense"
    shown = drawn(at)
    assert [run["key"] for run in shown["runs"]] == ["wanda", "sds-wanda", "sds-admm-wanda"]
    assert shown["runs"][2]["cells"]["redense"]["why"] == "This phase has not been run."
    at.button(key="phase").click().run()
    assert [(one.method, one.phase, one.experiment) for one in launched] == [("sds-admm", 2, stepped.name)]


def test_run_all_starts_the_next_phase_with_a_plan(stepped, app, launched):
    at = app(PAGE)
    assert not [one for one in at.button if one.key == "all-phases"], "everything is done"
    at.button_group(key="studio-methods").set_value(["sds-admm"]).run()
    at.button(key="all-phases").click().run()
    assert not at.error
    assert [(one.method, one.phase, one.experiment) for one in launched] == [("sds-admm", 2, stepped.name)]


def test_another_pattern_is_another_experiment(stepped, app, launched):
    at = app(PAGE)
    at.session_state["option-pattern"] = "4:8"
    at.run()
    assert at.button(key="phase").label == "Prune"
    at.button(key="phase").click().run()
    assert {one.experiment for one in launched} == {"tiny-4-8"}


def test_what_is_ticked_after_a_turn_to_another_experiment_stays(stepped, app, tiny_folder):
    for one in experiment.with_settings(config(tiny_folder, pattern="4:8")).configs([WANDA], 1):
        finish(create(one))
    at = app(PAGE, experiment=stepped.name)
    at.selectbox(key="option-pattern").set_value("4:8").run()
    assert "tiny-4-8" in at.query_params["experiment"]
    ticked = ["wanda", "sparsegpt"]
    at.button_group(key="studio-pruners").set_value(ticked).run()
    assert not at.exception and at.session_state["studio-pruners"] == ticked
    at.query_params.clear()  # another page was visited
    at.run()
    assert "tiny-4-8" in at.query_params["experiment"]
    at.button_group(key="studio-pruners").set_value(["wanda"]).run()
    assert at.session_state["studio-pruners"] == ["wanda"] and at.session_state["option-pattern"] == "4:8"


def test_a_phase_whose_weights_are_gone_is_named_on_its_button(stepped, app):
    for run, _ in stepped.members:
        run.drop_weights()
    at = app(PAGE, experiment=stepped.name)
    at.button_group(key="studio-methods").set_value(["sds-admm"]).run()
    assert at.button(key="phase").label == "Prune" and at.button(key="phase").help.startswith("Phase 1 of 3: Wanda. ")


def test_live_phase_shows_progress_and_can_be_cancelled(stepped, app, held):
    run = stepped.run_of(SDS, 3)
    (run.folder / "result.json").unlink()
    held(run)
    at = app(PAGE)
    shown = drawn(at)
    assert shown["live"] and shown["working"]["run"] == "sds-wanda" and shown["working"]["stage"] == "final"
    at.button(key="cancel-phase").click().run()
    assert run.cancel_requested and at.button(key="cancel-phase").disabled


PASS = {"model": "demo", "schedule": "fused", "method": "sds"}
BLOCK = layer_summary("mlp.up_proj")


def passed(phase, stage, of="final"):
    """The record of a run in whose pass one of three blocks is done."""
    begun = PhaseStarted(phase=phase, stage=stage, of=3)
    return [model_loaded(), begun, block_finished(phase=phase, stage=of, layers=(BLOCK,))]


@pytest.mark.parametrize(
    ("options", "events", "stage"),
    [
        (PASS, passed("fused", "final"), "final"),
        (PASS | {"pruner": "sparsegpt", "method": "base"}, passed("fused", "sparse", "sparse"), "sparse"),
        (PASS | {"reconstruct": "model"}, passed("fused", "final"), "final"),
        (
            PASS | {"schedule": "staged"},
            [*passed("sparse", "sparse", "sparse"), *passed("redense", "redense", "redense")],
            "redense",
        ),
    ],
)
def test_a_live_run_of_several_passes_is_shown_where_it_is(runs, app, held, made, options, events, stage):
    run = made(*events, **options)
    held(run)
    shown = drawn(app(PAGE, experiment=run.id))
    (column,) = [one for one in shown["runs"] if one["key"] == shown["view"]["run"]]
    assert shown["live"] and shown["view"]["follow"] and shown["view"]["stage"] == stage
    assert shown["working"]["run"] == column["key"] and shown["working"]["stage"] == stage
    assert shown["working"]["doing"].endswith(" left") and column["cells"][stage]["done"] == 1
    assert column["cells"][stage]["why"] == "The model’s perplexity is measured once the phase is done."
    if options["schedule"] == "fused" and stage == "final":
        assert column["cells"]["sparse"]["why"].endswith("so no whole model was ever sparse.")


def test_before_the_first_block_it_is_said_what_the_run_does(runs, app, held, made):
    run = made(JobQueued(behind="an-earlier-run"), method="base", schedule="staged", phase=1)
    held(run)
    at = app(PAGE, experiment=run.id)
    (picture,) = at.get("bidi_component") or [None]
    said = [one.value for one in at.caption]
    assert picture is None and "Waiting for an-earlier-run, which uses the same device." in said


def test_between_two_phases_the_page_stands_still_and_cancel_ends_the_plan(stepped, app):
    with_admm = Variant("sds-admm", "wanda")
    descriptor = lock.take(plan_lock(stepped.name))
    try:
        at = app(PAGE, experiment=stepped.name)
        assert drawn(at)["runs"] and not cancelled(stepped)
        at.button(key="cancel-phase").click().run()
        assert at.button(key="cancel-phase").disabled and not at.exception
        assert Plan.of(stepped, [with_admm]).next_runs() == []
    finally:
        os.close(descriptor)
    assert len(ids()) == len(stepped.members)


def test_a_cancel_that_is_refused_is_told(stepped, app, held, monkeypatch):
    def refuse(job):
        raise SDSError("no space left")

    monkeypatch.setattr(JobFolder, "cancel", refuse)
    run = stepped.run_of(SDS, 3)
    (run.folder / "result.json").unlink()
    held(run)
    at = app(PAGE)
    at.button(key="cancel-phase").click().run()
    assert not at.exception and at.error[0].value == "No space left."


def test_a_phase_that_begins_is_turned_to(stepped, app, launched):
    at = app(PAGE, experiment=stepped.name, run="wanda", stage="sparse", follow="0", layer="1.mlp.up_proj")
    at.button_group(key="studio-methods").set_value(["sds-admm"]).run()
    at.button(key="phase").click().run()
    assert launched and not {"run", "stage", "round", "follow"} & set(at.query_params) and "layer" in at.query_params


def test_a_device_of_another_machine_is_told_before_a_start(runs, launched):
    at = open_with(device="cuda:77")
    assert "Unknown device: got 'cuda:77'" in at.error[0].value and at.button(key="phase").disabled
    assert not at.exception and "cuda:77" not in str([one.value for one in at.markdown])
    at.button(key="take-device").click().run()
    assert not at.error and at.session_state["option-device"] == "auto" and not at.button(key="phase").disabled
    assert at.selectbox(key="option-device").options == ["auto", *devices()]


def test_failed_phase_says_why_and_can_be_resumed(stepped, app, launched):
    run = stepped.run_of(SDS, 3)
    (run.folder / "result.json").unlink()
    run.writer().append(JobFailed(message="the disk is full"))
    at = app(PAGE)
    assert "The disk is full" in at.error[0].value and not at.exception
    assert at.button(key="phase").label == "Prune again"
    at.button(key="phase").click().run()
    assert len(launched) == 1 and launched[0].phase == 3 and len(ids()) == len(stepped.members)


def test_why_run_all_ended_between_two_phases_is_told_until_the_next_start(stepped, app, launched):
    with pytest.raises(SDSError, match="unknown pruner"):
        Plan.of(stepped, [Variant("sds-admm", "gone")]).next_runs()
    at = app(PAGE)
    assert not at.error and not at.exception, "everything is done"
    at.button_group(key="studio-methods").set_value(["sds-admm"]).run()
    assert "“Run all” ended between two phases: " in at.error[0].value and not at.exception
    at.button(key="phase").click().run()
    assert len(launched) == 1 and not at.error


def test_a_cancelled_phase_keeps_its_blocks(stepped, app):
    run = stepped.run_of(SDS, 3)
    (run.folder / "result.json").unlink()
    run.writer().append(JobCancelled(message="cancelled"))
    at = app(PAGE)
    shown = drawn(at)
    assert shown["runs"][1]["cells"]["final"]["done"] == shown["blocks"]
    assert at.button(key="phase").label == "Prune again"


def test_a_broken_record_is_named_and_hides_no_other(stepped, app):
    run = stepped.run_of(SDS, 3)
    (run.folder / "distributions" / "final-001.parquet").write_bytes(b"nonsense")
    at = app(PAGE, layer="1.mlp.up_proj")
    assert not at.exception and run.id in at.error[0].value and "broken" in at.error[0].value
    (picture,) = at.get("bidi_component")
    wanda, sds = json.loads(picture.proto.json)[0]["runs"]
    assert wanda["cells"]["sparse"]["curve"] and "curve" not in sds["cells"]["final"]


def test_refusal_to_launch_is_reported(stepped, app, monkeypatch):
    def refuse(runs, **_):
        raise SDSError("another process works on this run")

    monkeypatch.setattr("sds_core.runs.worker.launch", refuse)
    at = app(PAGE)
    at.button_group(key="studio-methods").set_value(["sds", "sds-admm"]).run()
    at.button(key="phase").click().run()
    assert "Another process works" in at.error[0].value
    assert all(open_run(name).state() in ("new", "finished") for name in ids())


def test_experiments_without_anything_finished_are_not_the_default(stepped, app, tiny_folder):
    other = experiment.with_settings(config(tiny_folder, pattern="4:8"))
    (run,) = runs_for(other, [WANDA], 1, BUILT_IN)
    run.writer().append(JobFailed(message="no"))
    assert drawn(app(PAGE))["runs"][-1]["key"] == "sds-wanda"


def test_forms_of_one_method_are_called_after_what_differs():
    few, block = Variant("sds", "wanda", {"iterations": 2}), Variant("sds", "wanda", reconstruct="block")
    others = [WANDA, Variant("base", "sparsegpt"), Variant("sds", "sparsegpt")]
    assert titles(others) == ["Wanda", "SparseGPT", "SDS"]
    first, second, *rest = titles([few, block, *others])
    assert first.startswith("SDS · reconstruct matrix") and "iterations 2" in first
    assert second.startswith("SDS · reconstruct block") and rest == ["Wanda", "SparseGPT", "SDS"]
