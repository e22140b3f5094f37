"""What a log says of work that is under way."""

import statistics
from functools import partial

import pytest

from sds_core.pruning.perplexity import Perplexity
from sds_core.runs.events import (
    DistillationStep,
    JobCancelled,
    JobFailed,
    JobQueued,
    Measuring,
    PerplexityMeasured,
    PhaseStarted,
    TextModelLoading,
    TextReadingStarted,
)
from sds_core.runs.progress import PhaseProgress, duration, progress
from sds_core.runs.recorded_values import MeasuredPerplexity
from tests.records import block_finished, model_loaded, run_started

SOME = MeasuredPerplexity.of(Perplexity((2.0, 2.5), 31), Perplexity((2.0, 2.5), 31))
STAGED = ("sparse", "redense", "final")


@pytest.mark.parametrize(
    ("last", "sentence"),
    [
        (JobQueued(behind="a-run"), "Waiting for a-run, which uses the same device."),
        (run_started(), "Loading the model and its texts."),
        (Measuring(what="outliers", block=0, of=3), "Counting the dense model’s outliers: block 1 of 3."),
        (Measuring(what="redense", block=1, of=3), "Measuring the re-dense model’s perplexity: block 2 of 3."),
        (PhaseStarted(phase="fused", stage="final", of=3), "Pruning."),
        (block_finished(), "Pruning."),
        (PerplexityMeasured(stage="dense", perplexity=SOME), "Pruning."),
        (PerplexityMeasured(stage="final", perplexity=SOME), "Writing the results."),
        (DistillationStep(step=1, of=4, loss=0.5, held_out=None, seconds=1.0, cpu_seconds=1.0), "Distilling."),
        (TextModelLoading(model="demo"), "Loading demo."),
        (TextReadingStarted(name="dense", model=0, of=2), "Model 1 of 2, dense, reads and writes."),
    ],
)
def test_the_last_event_says_what_is_being_done(last, sentence):
    assert progress([model_loaded(), last]).activity == sentence


def test_without_events_the_job_starts():
    status = progress([], STAGED)
    assert status.activity == "Starting." and status.current is None
    assert status.phases[0] == PhaseProgress(phase="sparse", done=0, of=0, seconds_left=None)
    assert status.phases[0].line() == "Phase 1, sparse: block 0 of …"


def test_time_left_is_the_median_of_the_last_blocks():
    seconds = [100.0, *range(1, 10)]
    blocks = [block_finished(i, seconds=float(s)) for i, s in enumerate(seconds)]
    status = progress([model_loaded(blocks=30), *blocks], ("fused",))
    assert status.current == status.phases[0]
    assert status.current.seconds_left == 20 * statistics.median(seconds[-9:])
    assert status.current.line() == "All phases, block after block: block 10 of 30, about 2 min left"
    assert status.current.line(live=False) == "All phases, block after block: block 10 of 30"


def test_phases_are_counted_apart_and_a_repeated_block_once():
    events = [model_loaded(), *(block_finished(i, "sparse") for i in (0, 1, 1, 2)), block_finished(0, "redense")]
    status = progress(events, STAGED)
    assert [phase.done for phase in status.phases] == [3, 1, 0]
    assert status.current.phase == "redense" and status.phases[0].seconds_left is None


def test_steps_that_an_interruption_has_lost_do_not_count():
    step = partial(DistillationStep, of=20, cpu_seconds=1.0)
    lost = [step(step=number, seconds=2.0) for number in range(9)]
    events = [model_loaded(), *lost, *(step(step=number, seconds=4.0) for number in (4, 5))]
    (status,) = progress(events, ("distilled",)).phases
    assert (status.done, status.line(live=False)) == (5, "Then distilled: step 5 of …")


@pytest.mark.parametrize("ending", [JobFailed(message="the disk is full"), JobCancelled(message="stopped")])
def test_end_reports_the_reason(ending):
    assert progress([model_loaded(), ending]).message == ending.message
    assert progress([ending, model_loaded()]).message == "", "resumed since"


@pytest.mark.parametrize(("seconds", "words"), [(0.2, "about 1 s"), (89, "about 89 s"), (600, "about 10 min")])
def test_durations_choose_their_unit(seconds, words):
    assert duration(seconds) == words and duration(9000) == "about 2.5 h"
