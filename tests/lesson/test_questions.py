"""The questions are complete and say nothing twice."""

import pytest

from sds_core.lesson.evidence import RUNS
from sds_core.lesson.glossary import GLOSSARY
from sds_core.lesson.questions import STEPS, Choice, Multiple, Share


def offered(guess: Share | Multiple | Choice) -> tuple:
    """The predictions to begin from."""
    return guess.options if isinstance(guess, Choice) else guess.presets


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.title)
def test_a_step_is_complete(step):
    assert step.before.endswith(".") and step.question.endswith("?") and step.question.count("?") == 1
    assert len(set(offered(step.guess))) == len(offered(step.guess)) >= 3
    assert step.why.endswith(".") and ". " not in step.why and ".”" not in step.why
    assert set(step.terms) <= set(GLOSSARY) and set(step.runs) <= set(RUNS)
    assert step.notes.minutes > 0 and "?" in step.notes.ask and step.notes.mistaken.startswith("“")


def test_the_walk_fits_into_a_lesson():
    assert 60 <= sum(step.notes.minutes for step in STEPS) <= 90
