"""The Studio's dialog of experiments and runs, in all states of a run."""

import fcntl
import os
from dataclasses import replace

import pytest

from pages.ui import progress
from sds_core.errors import SDSError
from sds_core.runs import note
from sds_core.runs.event_log import to_line
from sds_core.runs.events import JobCancelled, JobFailed, JobQueued, Measuring
from sds_core.runs.job_folder import JobFolder
from sds_core.runs.run_folder import Run, ids
from sds_core.runs.run_result import ReconstructionSummary
from tests.pages.conftest import SDS, WANDA
from tests.records import block_finished as block
from tests.records import model_loaded, write_log, write_result

STUDIO = "pages/studio.py"
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
    monkeypatch.setattr("sds_core.runs.worker.launch", lambda given, **_: started.extend(run.id for run in given))
    return started


def test_a_new_run_can_be_started(runs, app, made, launched):
    run = made()
    at = app(STUDIO, manage=run.id)
    assert "never started" in texts(at)
    at.button(key="resume").click().run()
    assert launched == [run.id]


def test_a_running_run_shows_phase_block_and_time_left(runs, app, made):
    run = made(MODEL, block(0), block(1))
    with Held(run):
        at = app(STUDIO, manage=run.id)
        assert not at.exception
        assert at.get("progress")[0].proto.text == "All phases, block after block: block 2 of 3, about 2 s left"
        assert at.get("progress")[0].proto.value == 66
        assert "running" in texts(at)
        assert not any(button.key == "resume" for button in at.button)
        at.button(key="cancel").click().run()
        assert run.cancel_requested and at.button(key="cancel").disabled
        assert "Cancelling after the present block" in texts(at)


def test_progress_continues_with_the_log(runs, app, made):
    run = made(MODEL, block(0))
    with Held(run):
        at = app(STUDIO, manage=run.id)
        half = to_line(block(1))
        with open(run.folder / "events.jsonl", "a") as log:
            log.write(half[:20])
        at.run()
        assert "block 1 of 3" in at.get("progress")[0].proto.text
        with open(run.folder / "events.jsonl", "a") as log:
            log.write(half[20:])
        at.run()
        assert "block 2 of 3" in at.get("progress")[0].proto.text


def test_staged_run_shows_a_bar_per_phase(runs, app, made):
    run = made(
        MODEL, *(block(i, "sparse") for i in range(3)), block(0, "redense"), MEASURING, method="sds", schedule="staged"
    )
    with Held(run):
        at = app(STUDIO, manage=run.id)
        bars = [bar.proto.text for bar in at.get("progress")]
        assert [bar.partition(":")[0] for bar in bars] == ["Phase 1, sparse", "Phase 2, re-dense", "Phase 3, final"]
        assert "block 3 of 3" in bars[0] and "block 1 of 3, about 4 s left" in bars[1] and "block 0 of 3" in bars[2]
        assert "re-dense model’s perplexity" in texts(at)


def test_a_queued_run_says_behind_whom(runs, app, made):
    run = made(QUEUED)
    with Held(run):
        at = app(STUDIO, manage=run.id)
        assert "queued" in texts(at) and "an-earlier-run" in texts(at)


@pytest.mark.parametrize(
    ("events", "state", "sentence"),
    [
        ([MODEL, JobFailed(message="The model is gone.")], "failed", "The model is gone."),
        ([MODEL, block(0), CANCELLED], "cancelled", "Finished blocks are kept"),
        ([MODEL, block(0)], "interrupted", "is gone. Finished blocks are kept"),
    ],
)
def test_run_that_stopped_says_why_and_can_be_resumed(runs, app, made, launched, events, state, sentence):
    run = made(*events)
    at = app(STUDIO, manage=run.id)
    assert not at.exception
    assert state in texts(at) and sentence in texts(at)
    assert not [bar for bar in at.get("progress") if "left" in bar.proto.text], "what stands still ends at no time"
    assert not any(button.key == "cancel" for button in at.button)
    at.button(key="resume").click().run()
    assert launched == [run.id]


def test_a_run_of_the_experiment_in_view_is_resumed_with_the_options_on_the_page(stepped, app, launched):
    run = stepped.run_of(SDS, 3)
    (run.folder / "result.json").unlink()
    write_log(run, [MODEL, JobFailed(message="memory is full")])
    at = app(STUDIO, manage=run.id, experiment=stepped.name)
    at.session_state["option-weights"] = "disk"
    at.run()
    at.button(key="resume").click().run()
    assert not at.exception and launched == [run.id] and run.config.weights == "disk"


def test_every_state_looks_different():
    assert len(set(progress.STATES.values())) == len(progress.STATES)


def test_a_finished_run_shows_perplexities_ratios_and_sparsity(finished, app):
    run = finished["staged"]
    result = run.result()
    at = app(STUDIO, manage=run.id)
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
    assert "Kept as the final weights" in texts(at)
    assert not any(button.key in ("cancel", "resume") for button in at.button)


def test_a_run_says_what_adjusting_whole_blocks_did(finished, app):
    run = finished["staged"]
    assert "whole blocks" not in texts(app(STUDIO, manage=run.id))
    result = run.finished_result()
    change = ReconstructionSummary(improved=2, of=3, before=0.0412, after=0.0345)
    write_result(run, replace(result, reconstruction=change))
    try:
        assert "helped 2 of 3: on windows that were held out, the output error of all went from 4.12 % to 3.45 %" in (
            texts(app(STUDIO, manage=run.id))
        )
    finally:
        write_result(run, result)


def test_a_note_is_written_and_shown_again(runs, app, made):
    run = made(MODEL, CANCELLED)
    at = app(STUDIO, manage=run.id)
    at.text_area[0].set_value("Seed 0: the *first* try\nmore below").run()
    assert not at.exception
    again = app(STUDIO, manage=run.id)
    assert again.text_area[0].value == note.read(run) == "Seed 0: the *first* try\nmore below"
    again.text_area[0].set_value("").run()
    assert note.read(run) == ""


def test_refused_note_stays_in_view(runs, app, made, monkeypatch):
    def refuse(run, text):
        raise SDSError("the disk is full")

    at = app(STUDIO, manage=made(MODEL).id)
    monkeypatch.setattr(note, "write", refuse)
    at.text_area[0].set_value("long thought over").run()
    assert not at.exception and at.text_area[0].value == "long thought over" and "The disk is full" in texts(at)


def test_excluded_layers_are_named_with_their_reason(runs, app, made):
    excluded = {f"layers.{i}.mlp.gate": "it chooses" for i in range(3)}
    at = app(STUDIO, manage=made(model_loaded(excluded=excluded)).id)
    assert not at.exception
    (box,) = [box for box in at.expander if "not pruned" in box.label]
    assert box.label == "3 layers are not pruned"
    assert box.table[0].value.values.tolist() == [["it chooses", 3, "layers.0–2.mlp.gate"]]
    assert not [box for box in app(STUDIO, manage=made(MODEL).id).expander if "not pruned" in box.label]


def test_broken_run_spoils_neither_list_nor_page(runs, app, made):
    run = made(MODEL)
    (run.folder / "result.json").write_text("{")
    at = app(STUDIO, manage="all")
    assert not at.exception and "is broken" in texts(at)
    at = app(STUDIO, manage=run.id)
    assert not at.exception and "is broken" in texts(at)
    (run.folder / "result.json").unlink()
    (run.folder / "events.jsonl").write_text("nonsense\n{}\n")
    at = app(STUDIO, manage=run.id)
    assert not at.exception and "is not an event" in texts(at)


@pytest.mark.parametrize(
    "name", ["no-such-run", "../x", "/etc/passwd", "runs/../../x", "\x00", "a" * 300, "", "A b", "<script>"]
)
def test_run_that_is_none_is_refused(runs, app, name):
    at = app(STUDIO, manage=name)
    assert not at.exception
    assert len(at.error) == 1 and any(word in at.error[0].value for word in ("Not a run id", "no such run"))


def test_runs_are_named_by_phase_and_method(stepped, app):
    at = app(STUDIO, manage="all")
    names = at.selectbox(key="runs-run").options
    assert [name.rpartition(" · ")[0] for name in names] == [
        "Phase 3 · SDS · Wanda",
        "Phase 2 · SDS · Wanda, re-dense",
        "Phase 1 · Wanda",
    ]
    at.selectbox(key="runs-run").set_value(stepped.run_of(WANDA, 1).id).run()
    assert stepped.run_of(WANDA, 1).id in texts(at)


def test_no_runs_yet_says_how_to_begin(runs, app):
    at = app(STUDIO, manage="all")
    assert not at.exception and "There are no runs yet" in texts(at)


def test_the_box_turns_to_each_run_in_the_address(stepped, app):
    first, second, third = (run.id for run, _ in stepped.members)
    at = app(STUDIO, manage=first)
    for name in (second, third):
        at.query_params["manage"] = name  # as an import writes it
        at.run()
        assert at.selectbox(key="runs-run").value == name
    at.selectbox(key="runs-run").select_index(0).run()
    assert at.selectbox(key="runs-run").value != third, "what is chosen there stays"


def test_an_experiment_that_was_deleted_is_not_looked_for(runs, app, made):
    run = made(model="demo", experiment="mine", method="base", schedule="staged", phase=1)
    at = app(STUDIO, experiment="mine", manage=run.id)
    at.button(key="really-delete").click().run()
    assert not at.exception and not at.error and ids() == [] and "experiment" not in at.query_params


def test_a_refused_cancel_is_told(runs, app, made, monkeypatch):
    def refuse(job):
        raise SDSError("no space left")

    monkeypatch.setattr(JobFolder, "cancel", refuse)
    with Held(run := made(MODEL, block(0))):
        at = app(STUDIO, manage=run.id)
        at.button(key="cancel").click().run()
    assert not at.exception and "No space left." in [one.value for one in at.error]


def test_a_note_refused_for_one_run_is_not_anothers(runs, app, made):
    one, other = made(), made()
    at = app(STUDIO, manage=one.id)
    at.session_state["note-fault"] = (other.id, "it is gone")
    note.write(one, "mine")
    at.run()
    assert at.text_area[0].value == "mine" and not at.error


def test_an_experiment_is_opened_in_the_studio(stepped, app):
    at = app(STUDIO, manage="all")
    at.button(key="open-experiment").click().run()
    assert address(at, "experiment") == stepped.name and "manage" not in at.query_params


def test_old_addresses_of_a_run_lead_to_it(runs, app, made):
    run = made(MODEL, CANCELLED)
    at = app("pages/run.py", run=run.id)
    assert not at.exception and run.id in texts(at) and "cancelled" in texts(at)
