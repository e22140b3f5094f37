"""What people do, in a real browser: no request leaves this machine, and no page makes an error."""

import csv
import itertools
import json
import re
import time

import pytest

from sds_core.pruning.perplexity import format_perplexity
from sds_core.runs.archive import unpack
from sds_core.runs.event_log import to_line
from sds_core.runs.events import JobCancelled
from sds_core.runs.run_folder import Run, ids, open_run

TINY = {"calibration": "python-docs", "evaluation": "python-docs", "samples": 2, "length": 32, "threads": 1}


def fused(workshop):
    """The finished run of the tiny model with a memory."""
    own = (run for run in map(Run, workshop[0].iterdir()) if run.config.model != "demo")
    return next(run for run in own if run.config.schedule == "fused" and run.result())


def fill(page, label, value):
    """Type into a field and leave it."""
    field = page.get_by_label(label, exact=True).first
    field.fill(str(value))
    field.press("Enter")
    page.wait_for_timeout(400)


def choose(page, label, value):
    """Type what a box does not offer."""
    box = page.locator(f".st-key-option-{label} input").first
    box.fill(value)
    page.wait_for_timeout(200)
    box.press("Enter")
    page.wait_for_timeout(400)


def test_cold_old_address_of_a_layer_opens_its_details(workshop, visitor):
    page = visitor.open(f"/layer?run={fused(workshop).id}&cell=2.mlp.up_proj").page
    page.wait_for_url("**/studio?*details=1*")
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("Where did each weight go?").wait_for()
    assert dialog.get_by_label("Block").evaluate("box => box.selectedOptions[0].text") == "block 2"
    assert page.locator("[data-testid=stTopNavLink]", has_text="Layer lab").count() == 1
    assert page.locator("[data-testid=stTopNavLink]").get_by_text("Layer", exact=True).count() == 0


def test_the_sentence_takes_three_clicks(workshop, visitor, tiny_folder, monkeypatch):
    """Pick model and pruner, run each phase stepwise, and see distributions and perplexities side by side."""
    page = visitor.open("/studio").page
    choose(page, "model", str(tiny_folder))
    page.locator(".st-key-choice").get_by_role("button", name="Options").click()
    for label, value in (("Samples", 2), ("Length", 32), ("Eval windows", 3), ("Eval length", 32), ("Threads", 1)):
        fill(page, label, value)
    choose(page, "calibration", "python-docs")
    page.keyboard.press("Escape")
    visitor.idle()
    button = lambda label: page.locator(".st-key-phase button", has_text=re.compile(f"^{label}$")).first
    labels = ("Prune", "Re-dense", "Prune again")
    for label, following in zip(labels, (*labels[1:], "All phases done"), strict=True):
        button(label).click()
        button(following).wait_for(timeout=180_000)
        visitor.idle()
    monkeypatch.setenv("SDS_RUNS", str(workshop[0]))
    newest = open_run(ids()[0])
    assert newest.config.phase == 3 and newest.config.model == str(tiny_folder)
    result = newest.result()
    for stage in ("sparse", "redense", "final"):
        page.get_by_text(format_perplexity(result.perplexity[stage].value), exact=True).first.wait_for()


def test_a_cancelled_run_says_so_and_can_be_resumed(workshop, visitor, tiny_folder):
    from sds_core.runs.config import RunConfig

    config = RunConfig(
        model=str(tiny_folder), **TINY, eval_windows=2, eval_length=32, title="![x](http://example.org/x.png)"
    )
    folder = workshop[0] / "cancelled-1"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config.to_dict()))
    (folder / "events.jsonl").write_text(to_line(JobCancelled(message="cancelled")))
    visitor.open("/studio?manage=cancelled-1")
    visitor.page.get_by_role("button", name="Resume").click()
    deadline = time.monotonic() + 90
    while not (folder / "result.json").exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    visitor.page.get_by_text("Perplexity, final").wait_for()
    visitor.page.reload()
    visitor.page.get_by_text("Perplexity, final").wait_for()


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_examples_are_compared_and_taken_away(workshop, visitor, tmp_path, monkeypatch):
    visitor.open("/")
    visitor.page.get_by_role("button", name="See the finished example").click()
    visitor.page.wait_for_url("**/studio?experiment=examples")
    taken = [path.parent.name for path in workshop[0].glob("*/config.json") if '"examples"' in path.read_text()]
    visitor.open(f"/compare?runs={','.join(taken)}")
    visitor.page.get_by_text("All numbers").click()
    visitor.page.get_by_text("clearly better").first.wait_for()
    visitor.idle()  # a page that is still drawn may replace the button under the click
    with visitor.page.expect_download() as got:
        visitor.page.locator(".st-key-csv button").click()
    got.value.save_as(tmp_path / "comparison.csv")
    rows = rows_of(tmp_path / "comparison.csv")
    compared = {(row["method"], row["pruner"]): row for row in rows}
    assert set(compared) == set(itertools.product(("base", "sds", "sds-admm"), ("sparsegpt", "wanda")))
    for row in rows:
        result = Run(workshop[0] / row["run"]).result()
        assert float(row["perplexity"]) == pytest.approx(result.last_perplexity.value)
    best = compared["sds-admm", "wanda"]["run"]
    visitor.open(f"/report?run={best}")
    with visitor.page.expect_download() as got:
        visitor.page.get_by_role("button", name="Report (HTML)").click()
    got.value.save_as(tmp_path / "report.html")
    assert got.value.suggested_filename == f"{best}.html"
    report = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert best in report and "Plotly.newPlot" in report and report.rstrip().endswith("</html>")
    with visitor.page.expect_download() as got:
        visitor.page.get_by_role("button", name="Its record (ZIP)").click()
    got.value.save_as(tmp_path / "run.zip")
    assert got.value.suggested_filename == f"{best}.zip"
    monkeypatch.setenv("SDS_RUNS", str(tmp_path / "elsewhere"))
    taken_in = unpack(tmp_path / "run.zip")
    assert (taken_in.id, taken_in.result()) == (best, Run(workshop[0] / best).result())


def test_an_idle_page_sends_nothing(workshop, visitor):
    visitor.open("/studio")
    sent = []
    visitor.page.on("request", lambda request: sent.append(request.url))
    visitor.page.on("websocket", lambda socket: sent.append(socket.url))
    for _ in range(5):  # on a busy machine the last fonts come late; a page that polls is never quiet for so long
        sent.clear()
        visitor.page.wait_for_timeout(3000)
        if not sent:
            break
    assert sent == []
