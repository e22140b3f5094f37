"""The Start page: the example's numbers as they were measured, two ways to begin, recent experiments, nothing heavy."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sds_core.errors import SDSError
from sds_core.lesson import opening
from sds_core.runs import examples
from sds_core.runs.experiment import find
from sds_core.runs.run_folder import ids, open_run
from sds_core.runs.variant import Variant
from tests.pages.test_studio_runs import CANCELLED, MODEL, Held, address

PAGE = "pages/start.py"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def shipped(walk_examples, runs, monkeypatch):
    """The examples, of the tiny model."""
    monkeypatch.setattr(examples, "FOLDER", walk_examples)
    monkeypatch.setattr(opening, "FOLDER", walk_examples)


@pytest.fixture
def launched(monkeypatch):
    """Runs that a worker would have been started for."""
    found: list = []
    monkeypatch.setattr("sds_core.runs.worker.launch", lambda runs, **_: found.extend(runs))
    return found


def numbers(at) -> dict:
    """What the picture is drawn from."""
    (picture,) = at.get("bidi_component")
    return json.loads(picture.proto.json)[0]


def lines(at) -> list[tuple[str, str]]:
    """Label and query of every link to the Studio."""
    links = [link.proto for link in at.get("page_link") if link.proto.page == "studio"]
    return [(link.label, link.query_string) for link in links]


def test_the_picture_shows_what_was_measured(shipped, app):
    at = app(PAGE)
    assert not at.exception and not at.error
    stages = {one["stage"]: one for one in numbers(at)["stages"]}
    assert list(stages) == ["dense", "sparse", "redense", "final"]
    runs = {run.config.method: run.finished_result().perplexity for run in examples.unpack_all()}
    for stage, measured in {**runs["base"], **runs["sds"]}.items():
        assert stages[stage]["perplexity"]["value"] == pytest.approx(measured.value)
    assert "perplexity" not in stages["redense"] and stages["redense"]["why"]
    below = runs["sds"]["final"].value / stages["sparse"]["perplexity"]["value"] - 1
    assert (
        stages["final"]["change"]["value"] == pytest.approx(below) and stages["final"]["change"]["against"] == "sparse"
    )


def test_a_copy_without_examples_says_so(runs, app, tmp_path, monkeypatch):
    monkeypatch.setattr(opening, "FOLDER", tmp_path / "nowhere")
    at = app(PAGE)
    assert not at.exception and "without the finished examples" in at.info[0].value


def test_broken_example_is_reported(runs, app, tmp_path, monkeypatch):
    (tmp_path / "sds-wanda.zip").write_bytes(b"PK")
    monkeypatch.setattr(opening, "FOLDER", tmp_path)
    at = app(PAGE)
    assert not at.exception and "sds-wanda.zip is broken" in at.error[0].value


def test_the_finished_example_is_one_click_away(shipped, app):
    at = app(PAGE)
    at.button(key="examples").click().run()
    assert not at.exception and len(ids()) == 4
    assert "<h1 class='unseen'>Studio</h1>" in at.get("html")[0].proto.body


def test_pruning_live_begins_phase_1_in_the_studio(runs, app, launched):
    at = app(PAGE)
    at.button(key="live").click().run()
    assert not at.exception and not at.error
    assert [(run.config.phase, run.config.pruner, run.config.experiment) for run in launched] == [
        (1, "wanda", "demo-live")
    ]
    assert address(at, "experiment") == "demo-live"
    assert find("demo-live").run_of(Variant("base", "wanda"), 1) == launched[0]


def test_pruning_live_goes_back_to_what_was_begun(runs, app, launched):
    for _ in range(2):
        at = app(PAGE)
        at.button(key="live").click().run()
    assert not at.exception and ids() == [launched[0].id]


def test_demo_that_cannot_start_is_reported(runs, app, monkeypatch):
    def refuse(given, **_):
        raise SDSError("another process works on it", cure="wait")

    monkeypatch.setattr("sds_core.runs.worker.launch", refuse)
    at = app(PAGE)
    at.button(key="live").click().run()
    assert not at.exception and "Another process works on it" in at.error[0].value and ids() == []


def test_recent_experiments_show_their_lowest_perplexity(shipped, app, made):
    made(MODEL, CANCELLED, experiment="stopped", schedule="staged", phase=1, method="base")
    made(MODEL)
    for run in (taken := examples.unpack_all()):
        config = run.raw_config()
        (run.folder / "config.json").write_text(json.dumps(config | {"experiment": "tiny"}))
    with Held(made(MODEL, experiment="alive", schedule="staged", phase=1, method="base")):
        found = dict(lines(app(PAGE)))
    lowest = min(run.finished_result().last_perplexity.value for run in taken)
    assert found == {
        "alive **running**": "experiment=alive",
        f"tiny **{lowest:,.2f}**": "experiment=tiny",
        "stopped **cancelled**": "experiment=stopped",
    }


def test_redense_and_distilled_models_are_not_ranked(runs, app, monkeypatch):
    from pages.ui import cached

    known = {"a": ("redense", 5.0), "b": ("sparse", 9.0), "c": ("distilled", 3.0)}
    line = lambda run: cached.RunLine("finished", {"experiment": "x"}, *known[run])
    monkeypatch.setattr(cached, "run_line", line)
    monkeypatch.setattr("sds_core.runs.run_folder.ids", lambda: list(known))
    assert [(one.name, one.status) for one in cached.experiments()] == [("x", "9.00")]


def test_a_broken_run_is_left_out(runs, app, made):
    broken = made(MODEL)
    (broken.folder / "config.json").write_text("[")
    at = app(PAGE)
    assert not at.exception and lines(at) == []
    assert open_run(broken.id).folder.exists()


def test_nothing_heavy_is_imported_for_it(finished):
    """In a process of its own, with finished runs to list. (Streamlit itself imports a part of Plotly.)"""
    heavy = ("torch", "transformers", "pandas", "sds_core.runs.config")
    code = f"""
import json, sys
from streamlit.testing.v1 import AppTest
at = AppTest.from_file({str(ROOT / "app.py")!r}, default_timeout=60).run()
assert not at.exception and len(at.get("bidi_component")) == 1, at
print(json.dumps([name for name in {heavy} if name in sys.modules]))
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert json.loads(process.stdout.splitlines()[-1]) == []
