"""Walk: every step's numbers, prediction and reveal in the address, notes, wrong addresses, missing examples."""

import json

import pytest

from sds_core.lesson.questions import STEPS, Choice
from sds_core.runs import examples
from tests.pages.test_studio_runs import address, texts

PAGE = "pages/walk.py"
LAST = len(STEPS)


@pytest.fixture
def shipped(walk_examples, runs, monkeypatch):
    monkeypatch.setattr(examples, "FOLDER", walk_examples)


@pytest.fixture
def none_shipped(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(examples, "FOLDER", tmp_path / "nowhere")


def numbers(at) -> dict:
    """What the picture is drawn from."""
    (picture,) = at.get("bidi_component")
    return json.loads(picture.proto.json)[0]


@pytest.mark.parametrize("number", range(1, LAST + 1))
def test_every_step_has_its_question_and_its_answer(shipped, app, number):
    at = app(PAGE, step=str(number), shown="1")
    assert not at.exception and not at.error
    found, step = numbers(at), STEPS[number - 1]
    assert found["view"] == {"step": number, "guess": "", "shown": True}
    assert [found["step"][name] for name in ("before", "question", "why")] == [step.before, step.question, step.why]
    answer = found["step"]["answer"]
    if isinstance(step.guess, Choice):
        assert [one["name"] for one in answer["options"]] == [name for name, _ in step.guess.options]
        assert answer["right"] in [one["guess"] for one in answer["presets"]]
    else:
        assert len(answer["presets"]) == 3 and 0 <= answer["value"] < answer["top"]
        assert all(int(one["guess"]) <= answer["top"] for one in answer["presets"])


def test_perplexity_guesses_are_multiples_of_the_known_one(shipped, app):
    answer = numbers(app(PAGE, step="3"))["step"]["answer"]
    dense, wanda = answer["rows"]
    assert (dense["role"], wanda["role"]) == ("known", "asked") and answer["value"] == wanda["value"]
    assert [one["guess"] for one in answer["presets"]] == [str(round(times * dense["value"])) for times in (2, 4, 8)]


def test_the_address_keeps_guess_and_reveal(shipped, app):
    at = app(PAGE, step="8", guess="c", shown="1")
    assert numbers(at)["view"] == {"step": 8, "guess": "c", "shown": True}
    at.run()
    assert numbers(at)["view"] == {"step": 8, "guess": "c", "shown": True}
    assert numbers(app(PAGE, step="3", guess="46"))["view"] == {"step": 3, "guess": "46", "shown": False}


def test_the_step_survives_visiting_another_page(shipped, app):
    at = app(PAGE, step="5", guess="", shown="1")
    at.query_params.clear()
    at.run()
    assert numbers(at)["view"] == {"step": 5, "guess": "", "shown": True}


@pytest.mark.parametrize(("step", "guess"), [("8", "f"), ("8", "46"), ("8", "ab"), ("3", "b"), ("3", "-1"), ("3", "²")])
def test_a_guess_that_is_not_offered_is_none(shipped, app, step, guess):
    assert numbers(app(PAGE, step=step, guess=guess))["view"]["guess"] == ""


def test_notes_are_for_the_teacher_only(shipped, app):
    at = app(PAGE, step="4")
    note = STEPS[3].notes.mistaken
    assert note not in texts(at)
    at.toggle(key="walk-notes").set_value(True).run()
    assert note in texts(at) and f"{STEPS[3].notes.minutes} minutes" in texts(at) and address(at, "notes") == "1"
    at.toggle(key="walk-notes").set_value(False).run()
    assert note not in texts(at) and address(at, "notes") == "0"


def test_a_projector_shows_the_picture_alone(shipped, app):
    at = app(PAGE, step="4", present="1")
    assert not at.exception and numbers(at)["present"] and not at.toggle


def test_the_hand_out_waits_at_the_end(shipped, app):
    assert not app(PAGE, step=str(LAST - 1)).get("download_button")
    (button,) = app(PAGE, step=str(LAST)).get("download_button")
    assert button.proto.label == "Download the hand-out"


@pytest.mark.parametrize(
    ("name", "value"),
    [("step", "0"), ("step", "9"), ("step", "-1"), ("step", "²"), ("step", ""), ("step", "1" * 300), ("notes", "yes")],
)
def test_a_wrong_address_starts_the_walk(shipped, app, name, value):
    at = app(PAGE, **{name: value})
    assert not at.exception and numbers(at)["step"]["number"] == 1
    assert f"“{name}={value[:40]}” in the address" in at.error[0].value and len(at.error) == 1


def test_missing_example_does_not_stop_the_walk(none_shipped, app):
    at = app(PAGE, step="8")
    assert not at.exception and "finished run that is missing: base-wanda" in at.error[0].value
    found = numbers(at)
    assert "step" not in found and found["view"]["step"] == 8 and len(found["titles"]) == LAST
