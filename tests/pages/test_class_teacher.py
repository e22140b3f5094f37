"""The teacher's pages in class mode: address, who has guessed what, and the experiments that the class may look at."""

import json

import pytest
from streamlit.runtime.scriptrunner_utils.script_run_context import ThreadState

from sds_core.lesson import classroom
from sds_core.lesson.votes import Votes
from sds_core.runs import examples
from sds_core.runs.typed_json import to_json
from tests.pages.test_studio_runs import texts


@pytest.fixture
def room(walk_examples, stepped, tmp_path, monkeypatch):
    monkeypatch.setattr(examples, "FOLDER", walk_examples)
    folder = tmp_path / "class"
    folder.mkdir()
    monkeypatch.setenv(classroom.TEACHER, str(folder))
    return classroom.create(folder, "http://192.0.2.1:8502/abc234", {})


def vote(room, steps: dict) -> None:
    room.ballot.write_text(json.dumps(to_json(Votes(3, steps))))


def picture(at) -> dict:
    (found,) = at.get("bidi_component")
    return json.loads(found.proto.json)[0]


def test_every_page_says_that_there_is_a_class(room, app):
    vote(room, {"3": {"10": 3}})
    at = app("pages/start.py")
    assert not at.exception and "3 have guessed" in texts(at)
    assert any(room.address in one.proto.body for one in at.get("html"))
    assert not [one for one in app("pages/walk.py", present="1").multiselect if one.key == "class-shares"]


@pytest.mark.parametrize("present", [{}, {"present": "1"}])
def test_the_class_is_kept_up_to_date_in_a_part_of_its_own_on_every_page(room, app, monkeypatch, present):
    parts = []
    refresh = lambda _: parts.append(ThreadState.get().fragment_id)
    monkeypatch.setattr(classroom.Classroom, "refresh", refresh)
    assert not app("pages/start.py", **present).exception
    assert len(parts) == 1 and parts[0] is not None


def test_guesses_are_counted_on_the_walk(room, app):
    vote(room, {"3": {"10": 2, "46": 1}, "2": {"a": 1}})
    at = app("pages/walk.py", step="3")
    assert not at.exception and picture(at)["votes"] == {"10": 2, "46": 1}
    assert picture(app("pages/walk.py", step="4"))["votes"] == {}


@pytest.mark.parametrize("step", ["9", "0", "01", "x"])
def test_a_wrong_step_does_not_draw_the_page_for_ever(room, app, step):
    vote(room, {"1": {"a": 1}})
    at = app("pages/walk.py", step=step)
    assert not at.exception and "1" in at.query_params["step"] and picture(at)["votes"] == {"a": 1}


def test_without_a_class_there_are_no_votes(room, app, monkeypatch):
    monkeypatch.delenv(classroom.TEACHER)
    at = app("pages/walk.py", step="3")
    assert picture(at).get("votes") is None and not at.multiselect


def test_what_is_ticked_is_shared(room, stepped, app):
    at = app("pages/start.py")
    box = at.multiselect(key="class-shares")
    assert box.options == [stepped.name] and box.value == []
    box.set_value([stepped.name]).run()
    assert room.shared == [stepped.name] and {path.name for path in room.runs.iterdir()} == {
        r.id for r, _ in stepped.members
    }
