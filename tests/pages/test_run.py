"""The Run page in all its states."""

import fcntl
import os
import shutil
from dataclasses import replace

import pytest

from pages.ui import layout, progress
from sds_core.errors import SDSError
from sds_core.runs import note
from sds_core.runs.config import RunConfig
from sds_core.runs.events import JobCancelled, JobFailed, JobQueued, Measuring, to_line
from sds_core.runs.run_folder import Run, ids, open_run
from sds_core.runs.run_result import ReconstructionSummary
from tests.records import block_finished as block
from tests.records import model_loaded, write_result

MODEL = model_loaded()
CANCELLED = JobCancelled(message="cancelled")
QUEUED = JobQueued(behind="an-earlier-run")
MEASURING = Measuring(what="redense", block=0, of=3)


def texts(at) -> str:
    """Everything that is written on the page."""
    kinds = ("title", "subheader", "caption", "markdown", "info", "error", "warning", "success", "code")
    return "\n".join(str(element.value) for kind in kinds for element in getattr(at, kind))


def address(at, name: str) -> str:
    """A parameter in the address, by whomever it was written."""
    value = at.query_params[name]
    return value if isinstance(value, str) else value[0]


class Held:
    """A run's lock in other hands: the run looks alive without a process."""

    def __init__(self, run: Run):
        self.path = run.lock_path

    def __enter__(self) -> None:
        self.descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT)
        fcntl.flock(self.descriptor, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        os.close(self.descriptor)


@pytest.fixture
def launched(monkeypatch):
    """Names of the runs that were given a worker; none is started."""
    started: list[str] = []
    monkeypatch.setattr("sds_core.runs.worker.launch", lambda given: started.extend(run.id for run in given))
    return started


def test_an_empty_workshop_offers_options_and_says_that_there_are_no_runs(runs, app):
    at = app()
    assert not at.exception
    assert at.title[0].value == "Prune this model, step by step"
    assert at.code[0].value == RunConfig().command()
    assert not at.button(key="start").disabled and not at.button(key="phase-1").disabled
    assert at.button(key="phase-2").disabled and at.button(key="phase-3").disabled
    assert "There are no runs yet" in texts(at)


def test_the_command_line_follows_the_widgets(runs, app):
    at = app()
    at.text_input(key="option-model").set_value("my/model")
    at.selectbox(key="option-pruner").set_value("sparsegpt")
    at.number_input(key="option-sds-admm-rounds").set_value(25)
    at.run()
    wanted = RunConfig(model="my/model", pruner="sparsegpt", options={"rounds": 25})
    assert at.code[0].value == wanted.command()
    at.number_input(key="option-sds-admm-rounds").set_value(12).run()
    assert "--rounds" not in at.code[0].value


def test_another_method_brings_its_own_options(runs, app):
    at = app()
    at.selectbox(key="option-method").set_value("sds").run()
    at.number_input(key="option-sds-learning_rate").set_value(0.5).run()
    assert at.code[0].value == RunConfig(method="sds", options={"learning_rate": 0.5}).command()
    at.selectbox(key="option-method").set_value("base").run()
    assert not at.exception and at.code[0].value == RunConfig(method="base").command()


@pytest.mark.parametrize("preset", ["quick", "best", "paper"])
def test_a_preset_fills_in_what_the_command_line_fills_in(runs, app, preset):
    from sds_core.runs.presets import PRESETS

    at = app()
    at.segmented_control(key="preset").set_value(preset).run()
    assert at.code[0].value == RunConfig.from_dict(PRESETS[preset]).command()


def test_a_contradiction_is_a_sentence_and_stops_the_start(runs, app):
    at = app()
    at.text_input(key="option-model").set_value("")
    at.selectbox(key="option-allocation").set_value("owl")
    at.run()
    with pytest.raises(SDSError) as fault:
        RunConfig(model="", allocation="owl")
    assert at.error[0].value.lower() == layout.plain(str(fault.value)).lower()
    assert at.button(key="start").disabled and at.button(key="phase-1").disabled
    assert not at.code and not at.exception


def test_start_makes_a_run_gives_it_a_worker_and_puts_it_into_the_address(runs, app, launched):
    at = app()
    at.text_input(key="option-model").set_value("somewhere").run()
    at.button(key="start").click().run()
    assert not at.exception
    assert launched == ids() == [address(at, "run")]
    assert open_run(launched[0]).config == RunConfig(model="somewhere")


def test_phase_1_is_a_staged_run_of_one_phase(runs, app, launched):
    at = app()
    at.button(key="phase-1").click().run()
    assert open_run(launched[0]).config == RunConfig(schedule="staged", phase=1)


def test_a_refused_start_is_a_sentence(runs, app, made, monkeypatch):
    def refuse(given):
        raise SDSError("another process works on it", cure="wait")

    monkeypatch.setattr("sds_core.runs.worker.launch", refuse)
    at = app()
    at.button(key="start").click().run()
    assert not at.exception and "Another process works on it" in texts(at)


def test_a_new_run_can_be_started(runs, app, made, launched):
    run = made()
    at = app(run=run.id)
    assert "never started" in texts(at)
    at.button(key="resume").click().run()
    assert launched == [run.id]


def test_a_running_run_shows_phase_block_and_time_left(runs, app, made):
    run = made(MODEL, block(0), block(1))
    with Held(run):
        at = app(run=run.id)
        assert not at.exception
        assert at.get("progress")[0].proto.text == "All phases, block after block: block 2 of 3, about 2 s left"
        assert at.get("progress")[0].proto.value == 66
        assert "running" in texts(at)
        assert not any(button.key == "resume" for button in at.button)
        at.button(key="cancel").click().run()
        assert run.cancel_requested and at.button(key="cancel").disabled
        assert "Cancelling after the present block" in texts(at)


def test_progress_goes_on_where_the_log_goes_on(runs, app, made):
    run = made(MODEL, block(0))
    with Held(run):
        at = app(run=run.id)
        half = to_line(block(1))
        with open(run.folder / "events.jsonl", "a") as log:
            log.write(half[:20])
        at.run()
        assert "block 1 of 3" in at.get("progress")[0].proto.text
        with open(run.folder / "events.jsonl", "a") as log:
            log.write(half[20:])
        at.run()
        assert "block 2 of 3" in at.get("progress")[0].proto.text


def test_a_staged_run_has_a_bar_a_phase_and_says_what_it_measures(runs, app, made):
    run = made(
        MODEL, *(block(i, "sparse") for i in range(3)), block(0, "redense"), MEASURING, method="sds", schedule="staged"
    )
    with Held(run):
        at = app(run=run.id)
        bars = [bar.proto.text for bar in at.get("progress")]
        assert [bar.partition(":")[0] for bar in bars] == ["Phase 1, sparse", "Phase 2, re-dense", "Phase 3, final"]
        assert "block 3 of 3" in bars[0] and "block 1 of 3, about 4 s left" in bars[1] and "block 0 of 3" in bars[2]
        assert "re-dense model’s perplexity" in texts(at)


def test_a_queued_run_says_behind_whom(runs, app, made):
    run = made(QUEUED)
    with Held(run):
        at = app(run=run.id)
        assert "queued" in texts(at) and "an-earlier-run" in texts(at)


@pytest.mark.parametrize(
    ("events", "state", "sentence"),
    [
        ([MODEL, JobFailed(message="The model is gone.")], "failed", "The model is gone."),
        ([MODEL, block(0), CANCELLED], "cancelled", "Finished blocks are kept"),
        ([MODEL, block(0)], "interrupted", "is gone. Finished blocks are kept"),
    ],
)
def test_a_run_that_stopped_says_why_and_can_be_resumed(runs, app, made, launched, events, state, sentence):
    run = made(*events)
    at = app(run=run.id)
    assert not at.exception
    assert state in texts(at) and sentence in texts(at)
    assert not [bar for bar in at.get("progress") if "left" in bar.proto.text], "what stands still ends at no time"
    assert not any(button.key == "cancel" for button in at.button)
    at.button(key="resume").click().run()
    assert launched == [run.id]


def test_every_state_looks_different():
    assert len(set(progress.STATES.values())) == len(progress.STATES)


def test_a_finished_run_shows_perplexities_ratios_and_sparsity(finished, app):
    run = finished["staged"]
    result = run.result()
    at = app(run=run.id)
    assert not at.exception
    shown = {metric.label: (metric.value, metric.delta) for metric in at.metric}
    assert list(shown) == [*(f"Perplexity, {s}" for s in ("dense", "sparse", "re-dense", "final")), "Pruned weights"]
    final = result.perplexity["final"]
    ratio = final.value / result.perplexity["dense"].value
    assert shown["Perplexity, final"] == (
        f"{final.value:,.2f}",
        f"× {ratio:.3f} ±\N{NO-BREAK SPACE}{ratio * final.error:.3f}",
    )
    assert shown["Pruned weights"][0] == "50.00 %"
    assert shown["Pruned weights"][1] == f"{100 * result.pruned / result.total:.2f} % of all"
    assert at.subheader[0].value == "The paper’s"
    assert "Kept as the final weights" in texts(at)
    assert not any(button.key in ("cancel", "resume") for button in at.button)
    assert at.get("page_link")[0].proto.query_string == f"run={run.id}"


def test_a_run_says_what_adjusting_whole_blocks_did(finished, app):
    run = finished["staged"]
    assert "whole blocks" not in texts(app(run=run.id))
    result = run.finished_result()
    change = ReconstructionSummary(improved=2, of=3, before=0.0412, after=0.0345)
    write_result(run, replace(result, reconstruction=change))
    try:
        assert "helped 2 of 3: on windows that were held out, the output error of all went from 4.12 % to 3.45 %" in (
            texts(app(run=run.id))
        )
    finally:
        write_result(run, result)


def test_a_note_is_written_shown_again_and_listed(runs, app, made):
    run = made(MODEL, CANCELLED)
    at = app(run=run.id)
    at.text_area[0].set_value("Seed 0: the *first* try\nmore below").run()
    assert not at.exception
    again = app(run=run.id)
    assert again.text_area[0].value == note.read(run) == "Seed 0: the *first* try\nmore below"
    assert r"Seed 0: the \*first\* try" in [caption.value for caption in again.caption]
    again.text_area[0].set_value("").run()
    assert note.read(run) == ""


def test_a_note_that_cannot_be_kept_is_refused_and_stays_in_view(runs, app, made, monkeypatch):
    def refuse(run, text):
        raise SDSError("the disk is full")

    at = app(run=made(MODEL).id)
    monkeypatch.setattr(note, "write", refuse)
    at.text_area[0].set_value("long thought over").run()
    assert not at.exception and at.text_area[0].value == "long thought over" and "The disk is full" in texts(at)


def test_layers_left_as_they_are_are_named_with_their_reason(runs, app, made):
    excluded = {f"layers.{i}.mlp.gate": "it chooses" for i in range(3)}
    at = app(run=made(model_loaded(excluded=excluded)).id)
    assert not at.exception
    (box,) = [box for box in at.expander if "left as" in box.label]
    assert box.label == "3 layers are left as they are"
    assert box.table[0].value.values.tolist() == [["it chooses", 3, "layers.0–2.mlp.gate"]]
    assert not [box for box in app(run=made(MODEL).id).expander if "left as" in box.label]


def test_one_broken_run_does_not_silence_the_forecast(finished, runs, app, made, monkeypatch):
    shutil.copytree(finished["fused"].folder, runs / finished["fused"].id)
    (made(MODEL).folder / "result.json").write_text("{")
    monkeypatch.setenv("SDS_RUNS", str(runs))  # `finished` has turned to its own folder
    at = app(run=finished["fused"].id)
    assert not at.exception and f"Judged by run {finished['fused'].id}" in texts(at)


def test_opening_a_run_takes_its_options_over(finished, app):
    run = finished["staged"]
    at = app(run=run.id)
    assert at.code[0].value == run.config.command()
    assert at.number_input(key="option-sds-iterations").value == 3


def test_phases_go_on_from_the_shown_run(finished, app, launched, monkeypatch):
    made = []
    monkeypatch.setattr("sds_core.runs.new_run.create", lambda config, _: made.append(config) or finished["phase1"])
    at = app(run=finished["phase1"].id)
    assert not at.button(key="phase-2").disabled
    assert at.button(key="phase-3").disabled and "no finished phase 2" in at.button(key="phase-3").help
    at.number_input(key="option-sds-iterations").set_value(5).run()
    at.button(key="phase-2").click().run()
    assert made[0].phase == 2 and made[0].parent.run == finished["phase1"].id
    assert made[0].options == {"iterations": 5} and made[0].pruner == "magnitude"


def test_an_option_set_back_to_its_default_wins_over_the_parents(finished, app, launched, monkeypatch):
    made = []
    monkeypatch.setattr("sds_core.runs.new_run.create", lambda config, _: made.append(config) or finished["staged"])
    at = app(run=finished["staged"].id)
    at.number_input(key="option-sds-iterations").set_value(20).run()
    at.button(key="phase-3").click().run()
    assert made[0].phase == 3 and made[0].made_method().iterations == 20


def test_a_method_without_a_second_phase_cannot_go_on(finished, app):
    at = app(run=finished["phase1"].id)
    at.selectbox(key="option-method").set_value("base").run()
    assert at.button(key="phase-2").disabled and "not stepped through" in at.button(key="phase-2").help


def test_the_list_opens_a_run(finished, app):
    at = app()
    assert {f"open-{run.id}" for run in finished.values()} <= {button.key for button in at.button}
    value = finished["fused"].result().perplexity["final"].value
    assert f"perplexity {value:,.2f}" in texts(at)
    at.button(key=f"open-{finished['fused'].id}").click().run()
    assert address(at, "run") == finished["fused"].id
    assert at.code[0].value == finished["fused"].config.command()


def test_a_long_list_is_asked_for(runs, app, made):
    for _ in range(12):
        made()
    at = app()
    opened = [button for button in at.button if (button.key or "").startswith("open-")]
    assert len(opened) == 10
    at.toggle(key="all-runs").set_value(True).run()
    assert len([button for button in at.button if (button.key or "").startswith("open-")]) == 12


def test_a_broken_run_spoils_neither_the_list_nor_the_page(runs, app, made):
    run = made(MODEL)
    (run.folder / "result.json").write_text("{")
    at = app()
    assert not at.exception and "broken" in texts(at)
    at = app(run=run.id)
    assert not at.exception and "is broken" in texts(at)
    (run.folder / "result.json").unlink()
    (run.folder / "events.jsonl").write_text("nonsense\n{}\n")
    at = app(run=run.id)
    assert not at.exception and "is not an event" in texts(at)


@pytest.mark.parametrize(
    "name", ["no-such-run", "../x", "/etc/passwd", "runs/../../x", "\x00", "a" * 300, "", "A b", "<script>"]
)
def test_a_run_that_is_none_is_refused_in_a_sentence(runs, app, name):
    at = app(run=name)
    assert not at.exception
    assert len(at.error) == 1 and any(word in at.error[0].value for word in ("Not a run id", "no such run"))
    assert not at.button(key="start").disabled
