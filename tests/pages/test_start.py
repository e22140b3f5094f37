"""The Start page: three doors and the newest runs, and nothing heavy behind them."""

import json
import os
import subprocess
import sys
from pathlib import Path

from sds_core.errors import SDSError
from sds_core.runs.run_folder import ids, open_run
from tests.pages.test_run import CANCELLED, MODEL, Held, address, texts

PAGE = "pages/start.py"
ROOT = Path(__file__).parents[2]


def links(at) -> list[tuple[str, str]]:
    """Page and query of every link."""
    return [(link.proto.page, link.proto.query_string) for link in at.get("page_link")]


def test_it_is_the_first_page_and_says_what_this_is(runs, app):
    at = app(PAGE)
    assert not at.exception
    assert at.title[0].value == "What does pruning do to a language model?"
    assert [heading.value for heading in at.subheader][:3] == ["Learn", "Try the demo", "Prune a model"]
    assert [page for page, _ in links(at)] == ["walk", "micro", "lab", "run"]


def test_without_runs_it_says_what_to_do(runs, app):
    assert "Start the demo above" in app(PAGE).info[0].value


def test_recent_runs_have_state_perplexity_and_a_link(finished, app):
    run = finished["fused"]
    at = app(PAGE)
    assert not at.exception and not at.info
    assert ("run", f"run={run.id}") in links(at)
    last = run.result().perplexity["final"].value
    assert f"perplexity {last:,.2f}" in texts(at) and texts(at).count("finished") == 3
    titled = next(link.proto.label for link in at.get("page_link") if finished["staged"].id in link.proto.query_string)
    assert titled.startswith("The paper’s")


def test_states_of_runs_that_are_not_finished(runs, app, made):
    made(MODEL, CANCELLED)
    broken = made(MODEL)
    (broken.folder / "config.json").write_text("[")
    with Held(made(MODEL)):
        at = app(PAGE)
    assert not at.exception
    for state in ("running", "cancelled", "broken"):
        assert state in texts(at)


def test_a_long_list_is_cut_and_says_so(runs, app, made):
    for _ in range(10):
        made(MODEL)
    at = app(PAGE)
    assert len([query for _, query in links(at) if query.startswith("run=")]) == 8
    assert "All 10 runs" in at.get("page_link")[-1].proto.label


def test_the_demo_makes_its_runs_starts_them_and_goes_to_compare(runs, app, monkeypatch):
    launched: list[str] = []
    monkeypatch.setattr("sds_core.runs.worker.launch", lambda given: launched.extend(run.id for run in given))
    at = app(PAGE)
    at.button(key="demo").click().run()
    assert not at.exception
    assert sorted(launched) == sorted(ids()) and len(launched) == 4
    asked = [(open_run(run).config.method, open_run(run).config.pruner) for run in launched]
    assert asked == [("base", "wanda"), ("base", "sparsegpt"), ("sds", "wanda"), ("sds-admm", "wanda")]
    assert at.title[0].value == "Which is better here, and is it sure?"
    assert address(at, "runs").split(",") == launched


def test_a_demo_that_cannot_start_is_a_sentence(runs, app, monkeypatch):
    def refuse(given):
        raise SDSError("another process works on it", cure="wait")

    monkeypatch.setattr("sds_core.runs.worker.launch", refuse)
    at = app(PAGE)
    at.button(key="demo").click().run()
    assert not at.exception and "Another process works on it" in at.error[0].value


def test_nothing_heavy_is_imported_for_it(finished):
    """In a process of its own, with finished runs to list. (Streamlit itself imports a part of Plotly.)"""
    heavy = ("torch", "transformers", "pandas", "pyarrow", "sds_core.figures.layer")
    code = f"""
import json, sys
from streamlit.testing.v1 import AppTest
at = AppTest.from_file({str(ROOT / "app.py")!r}, default_timeout=60).run()
assert not at.exception and len(at.get("page_link")) == 7, at
print(json.dumps([name for name in {heavy} if name in sys.modules]))
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    told = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert json.loads(told.stdout.splitlines()[-1]) == []


def test_finished_runs_that_come_along_are_one_click_away(finished, runs, app, tmp_path, monkeypatch):
    from sds_core.runs import examples
    from sds_core.runs.archive import pack
    from sds_core.runs.run_folder import ids

    folder = tmp_path / "examples"
    folder.mkdir()
    monkeypatch.setattr(examples, "FOLDER", folder)
    pack(finished["fused"], folder / "sds-admm-wanda.zip")
    monkeypatch.setenv("SDS_RUNS", str(runs))
    at = app(PAGE)
    at.button(key="examples").click().run()
    assert not at.exception and ids() == [finished["fused"].id]
    assert at.title[0].value == "Which is better here, and is it sure?"
