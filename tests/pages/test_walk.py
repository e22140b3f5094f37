"""Walk: every step, prediction and reveal, notes, wrong addresses, missing examples, the hand-out."""

import pytest

from sds_core.lesson.questions import STEPS
from sds_core.runs import examples
from tests.pages.test_run import address, texts

PAGE = "pages/walk.py"
LAST = len(STEPS)


@pytest.fixture
def shipped(walk_examples, runs, monkeypatch):
    monkeypatch.setattr(examples, "FOLDER", walk_examples)


@pytest.fixture
def none_shipped(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(examples, "FOLDER", tmp_path / "nowhere")


def drawn(at) -> list[str]:
    """Keys of the pictures."""
    return [chart.proto.id.partition("-walk-")[2] for chart in at.get("plotly_chart")]


def buttons(at) -> list[str]:
    return [button.key for button in at.button]


def right(at, number: int) -> int:
    """Place of the option that the page calls right."""
    shown = texts(at)
    (place,) = [i for i, option in enumerate(STEPS[number - 1].options) if f"{option}.**" in shown]
    return place


def test_it_opens_with_the_first_question_only(shipped, app):
    at = app(PAGE)
    assert not at.exception and at.title[0].value == "Why prune, fill in, and prune again?"
    assert at.subheader[0].value == f"1 · {STEPS[0].title}"
    assert at.button(key="walk-reveal").label == "Reveal without a guess"
    assert "walk-back" not in buttons(at)


@pytest.mark.parametrize("number", range(1, LAST + 1))
def test_every_step_asks_and_then_answers(shipped, app, number):
    at = app(PAGE, step=str(number))
    step = STEPS[number - 1]
    assert not at.exception and not at.error and step.before in texts(at) and step.question in texts(at)
    assert drawn(at) == [] and step.why not in texts(at)
    at.button(key="walk-reveal").click().run()
    assert not at.exception and not at.error
    assert drawn(at) == [str(number)] and at.info[0].value == step.why
    assert "You were right" not in texts(at) and "You said" not in texts(at)


def test_a_prediction_is_judged_and_kept(shipped, app):
    at = app(PAGE, step="2")
    at.button(key="walk-reveal").click().run()
    truth = right(at, 2)
    at.button(key="walk-again").click().run()
    assert not at.exception and drawn(at) == []
    at.radio(key="walk-guess-2").set_value(truth).run()
    assert at.button(key="walk-reveal").label == "Reveal"
    at.button(key="walk-reveal").click().run()
    assert "**You were right. " in texts(at) and not at.radio, "what was said stands"
    at.button(key="walk-next").click().run()
    assert address(at, "step") == "3" and drawn(at) == []
    at.button(key="walk-back").click().run()
    assert "**You were right. " in texts(at) and drawn(at) == ["2"]
    at.button(key="walk-again").click().run()
    other = (truth + 1) % 3
    at.radio(key="walk-guess-2").set_value(other).run()
    at.button(key="walk-reveal").click().run()
    assert right(at, 2) == truth and f"You said: {STEPS[1].options[other]}." in texts(at)


def test_it_is_walked_to_its_end(shipped, app):
    at = app(PAGE)
    seen = ["1"]
    while "walk-next" in buttons(at):
        assert not at.get("download_button")
        at.button(key="walk-next").click().run()
        assert not at.exception and not at.error
        seen.append(address(at, "step"))
    assert seen == [str(number) for number in range(1, LAST + 1)]
    assert [button.proto.label for button in at.get("download_button")] == ["Download the hand-out"]
    assert [link.proto.page for link in at.get("page_link")] == ["micro", "lab"]


def test_notes_are_for_the_teacher_only(shipped, app):
    at = app(PAGE, step="4")
    note = STEPS[3].notes.mistaken
    assert note not in texts(at)
    at.toggle(key="walk-notes").set_value(True).run()
    assert note in texts(at) and f"{STEPS[3].notes.minutes} minutes" in texts(at) and address(at, "notes") == "1"
    at.button(key="walk-next").click().run()
    assert STEPS[4].notes.mistaken in texts(at)
    at.toggle(key="walk-notes").set_value(False).run()
    assert STEPS[4].notes.mistaken not in texts(at) and address(at, "notes") == "0"


def test_the_row_of_numbers_leads_to_any_step(shipped, app):
    at = app(PAGE, step="2", notes="1")
    at.segmented_control(key="walk-step").set_value(6).run()
    assert not at.exception and address(at, "step") == "6" and address(at, "notes") == "1"
    assert at.subheader[0].value == f"6 · {STEPS[5].title}" and STEPS[5].notes.ask in texts(at)


@pytest.mark.parametrize(
    ("name", "value"),
    [("step", "0"), ("step", "9"), ("step", "-1"), ("step", "²"), ("step", ""), ("step", "1" * 300), ("notes", "yes")],
)
def test_a_wrong_address_starts_the_walk(shipped, app, name, value):
    at = app(PAGE, **{name: value})
    assert not at.exception and at.subheader[0].value == f"1 · {STEPS[0].title}"
    assert f"“{name}={value[:40]}” in the address" in at.error[0].value and len(at.error) == 1


def test_a_missing_example_is_a_sentence(none_shipped, app):
    at = app(PAGE, step="8")
    at.button(key="walk-reveal").click().run()
    assert not at.exception and drawn(at) == []
    assert "finished run that is missing: base-wanda" in at.error[0].value
    assert at.get("download_button")
    at.button(key="walk-back").click().run()
    assert not at.exception and not at.error and STEPS[6].question in texts(at)
