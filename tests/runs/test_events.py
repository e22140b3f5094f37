"""Every kind of event as a line of the log and back."""

import dataclasses
import json
import math
from fractions import Fraction

import numpy as np
import pytest

from sds_core.models.block_change import BlockChange
from sds_core.pruning.perplexity import Perplexity
from sds_core.runs.event_log import from_line, to_line
from sds_core.runs.events import (
    KINDS,
    BlockFinished,
    DistillationSaved,
    DistillationStarted,
    DistillationStep,
    JobCancelled,
    JobFailed,
    JobFinished,
    JobQueued,
    Measuring,
    ModelLoaded,
    PerplexityMeasured,
    PhaseStarted,
    SparsityAllocated,
    TextModelLoading,
    TextReadingStarted,
    first,
    of_kind,
)
from sds_core.runs.recorded_values import LARGEST_PERPLEXITY, MeasuredPerplexity, TextWindows
from sds_core.runs.typed_json import load
from tests.records import block_finished, layer_summary, model_loaded, run_started

DENSE = Perplexity((2.0, 2.5), 31)
EVENTS = [
    run_started(),
    model_loaded(sha256={"a": "b"}, excluded={"gate": "it chooses"}),
    SparsityAllocated(ratios=(Fraction(1, 3), Fraction(2, 3))),
    Measuring(what="outliers", block=0, of=3),
    PerplexityMeasured(stage="dense", perplexity=MeasuredPerplexity.of(DENSE, DENSE)),
    PhaseStarted(phase="redense", stage="redense", of=3),
    block_finished(layers=(layer_summary(loss={"final": 0.5}),), reconstruction=BlockChange(0.2, 0.1)),
    DistillationStarted(
        steps=6,
        epochs=2,
        windows=3,
        rate=0.003,
        text=TextWindows(text="self", sha256="ab"),
        precision="bfloat16",
        memory=10**9,
    ),
    DistillationStep(step=0, of=6, held_out=1.5, seconds=1.0, cpu_seconds=2.0),
    DistillationStep(step=1, of=6, loss=1.25, seconds=1.0, cpu_seconds=2.0),
    DistillationSaved(step=1, sha256="cd"),
    JobQueued(behind="another-run"),
    JobFinished(),
    JobFailed(message="Größer als\n“erwartet”", internal=True),
    JobCancelled(message="cancelled", inherited_from="a-run"),
    TextModelLoading(model="demo"),
    TextReadingStarted(name="dense", model=0, of=2),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_event_survives_its_line(event):
    stamped = dataclasses.replace(event, number=7, elapsed=1.25)
    line = to_line(stamped)
    read = from_line(line)
    assert read == event and (read.number, read.elapsed) == (7, 1.25)
    assert line.count("\n") == 1 and line.endswith("\n")


def test_every_kind_is_tried():
    assert {type(event) for event in EVENTS} == set(KINDS.values())


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1", "not an object"),
        ("rubbish", "Expecting value"),
        ("{}", "unknown kind 'None'"),
        ('{"kind": ["queued"]}', "unknown kind"),
        ('{"kind": "dreaming"}', "unknown kind 'dreaming'"),
        ('{"kind": "queued"}', "behind is missing"),
        ('{"kind": "queued", "behind": 3}', "behind is not a text: '3'"),
        ('{"kind": "queued", "behind": "x", "number": "0"}', "number is not a whole number"),
        ('{"kind": "queued", "behind": "x", "elapsed": NaN}', "elapsed is not a finite number"),
        ('{"kind": "measuring", "what": "nothing", "block": 0, "of": 1}', "what is not one of dense, sparse"),
    ],
)
def test_a_line_that_is_no_event_is_refused(line, message):
    with pytest.raises(ValueError, match=message):
        from_line(line)


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(BlockFinished)])
def test_no_field_takes_another_type(field):
    values = load(to_line(block_finished(reconstruction=BlockChange(0.2, 0.1)))) | {field: {"x": []}}
    with pytest.raises(ValueError, match=field):
        from_line(json.dumps(values))


def test_events_are_found_by_their_kind():
    assert first(EVENTS, ModelLoaded) is EVENTS[1] and first([], ModelLoaded) is None
    assert of_kind([*EVENTS, *EVENTS], JobFinished) == [JobFinished(), JobFinished()]


def test_a_measurement_is_paired_with_the_dense_model():
    mine, dense = (2.6, 3.2, 3.5), (2.0, 2.5, 3.0)
    measured = MeasuredPerplexity.of(Perplexity(mine, 31), Perplexity(dense, 31))
    difference = np.subtract(mine, dense)
    assert measured.value == pytest.approx(math.exp(np.mean(mine)))
    assert measured.log_ratio == measured.against_dense.log_ratio == pytest.approx(difference.mean())
    assert measured.error == measured.against_dense.error == pytest.approx(difference.std(ddof=1) / math.sqrt(3))
    assert measured.perplexity == Perplexity(mine, 31)


def test_an_infinite_perplexity_can_be_recorded():
    exploded = Perplexity((900.0, 900.0), 31)
    event = PerplexityMeasured(stage="sparse", perplexity=MeasuredPerplexity.of(exploded, DENSE))
    assert event.perplexity.value == LARGEST_PERPLEXITY and from_line(to_line(event)) == event
