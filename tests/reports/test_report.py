"""A report says what the record says, needs nothing from elsewhere, and lets no name become markup."""

import csv
import json
import math
import re
import shutil
from argparse import Namespace
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from sds_core.commands.records import list_runs
from sds_core.comparison.claims import incomparable
from sds_core.comparison.references import Against
from sds_core.errors import SDSError
from sds_core.models.route_change import BlockRoutes, RouteChange
from sds_core.pruning.perplexity import format_perplexity
from sds_core.reports.report import report
from sds_core.runs import layer_stats, typed_json
from sds_core.runs.run_command import command
from sds_core.runs.run_folder import Run
from sds_core.runs.typed_json import to_json
from tests.records import layer_row

HOSTILE = '</script><script>alert(1)</script><img src="http://example.org/x.png" onerror="alert(2)">&amp;'


class Reader(HTMLParser):
    """Every tag with its attributes, and the visible text; what stands in scripts and styles apart."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.scripts, self.styles = "", list[str](), list[str]()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        inside = self.tags[-1][0] if self.cdata_elem else ""
        {"script": self.scripts, "style": self.styles}.get(inside, []).append(data)
        if not inside:
            self.text += data


@pytest.fixture(scope="module")
def made(finished: Run, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return report(finished, str(tmp_path_factory.mktemp("report") / "new" / "run.html"))


@pytest.fixture(scope="module")
def page(made: list[Path]) -> Reader:
    return Reader(made[0].read_text(encoding="utf-8"))


def test_three_files_lie_beside_each_other(made: list[Path]) -> None:
    assert [path.name for path in made] == ["run.html", "run.csv", "run.json"]
    assert sorted(path.name for path in made[0].parent.iterdir()) == ["run.csv", "run.html", "run.json"]


def test_nothing_is_loaded_from_elsewhere(page: Reader) -> None:
    loading = {"src", "href", "srcset", "data", "action", "poster", "background"}
    assert not [(tag, attributes) for tag, attributes in page.tags if loading & set(attributes)]
    assert {tag for tag, _ in page.tags}.isdisjoint({"link", "img", "iframe", "object", "embed", "base", "form"})
    assert not re.search(r"@import|url\(", "".join(page.styles))
    policies = [
        attributes for tag, attributes in page.tags if attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    assert len(policies) == 1
    allowed = dict(rule.split(" ", 1) for rule in str(policies[0]["content"]).split("; "))
    assert allowed["default-src"] == "'none'"
    assert not re.search(r"http|\*|connect", str(policies[0]["content"]))


def test_plotly_is_embedded_once_and_draws(page: Reader, finished: Run) -> None:
    from sds_core.figures.error_map import error_map
    from sds_core.figures.layer import ridges

    large = [script for script in page.scripts if len(script) > 1_000_000]
    (drawing,) = [script for script in page.scripts if script not in large]
    assert len(large) == 1
    drawn, _ = json.JSONDecoder().raw_decode(drawing)
    layers = layer_stats.load(finished.folder)
    final = layers[(layers["stage"] == "final") & (layers["round"] == 0)]
    worst = max(final.to_dict("records"), key=lambda row: row["loss"])
    its = layers[(layers["block"] == worst["block"]) & (layers["linear"] == worst["linear"])]
    expected = [error_map(final, (worst["block"], worst["linear"])), ridges(its)]
    assert drawn == json.loads(json.dumps(expected))
    assert [attributes["id"] for tag, attributes in page.tags if tag == "div"] == ["figure-0", "figure-1"]


def test_the_numbers_are_those_of_the_record(page: Reader, finished: Run) -> None:
    result, config = finished.result(), finished.config
    for stage in ("dense", "sparse", "final"):
        if stage in result.perplexity:
            assert format_perplexity(result.perplexity[stage].value) in page.text
    assert f"{result.pruned:,} of {result.prunable:,}" in page.text
    sha256, software = finished.model().sha256, result.software
    for text in [
        *sha256.values(), *sha256, result.calibration.sha256, result.evaluation.sha256,
        software.torch, software.transformers, software.python, software.version, command(config), finished.id,
        config.calibration, config.evaluation, str(config.samples), config.pattern, "arXiv 2408.10473", "seed",
    ]:  # fmt: skip
        assert text in page.text


def test_the_json_holds_the_whole_record(made: list[Path], finished: Run) -> None:
    saved = json.loads(made[2].read_text(encoding="utf-8"))
    assert saved["config"] == finished.config.to_dict() and saved["result"] == to_json(finished.result())
    layers = layer_stats.load(finished.folder)
    assert len(saved["layers"]) == len(layers)
    for mine, row in zip(saved["layers"], layers.to_dict("records"), strict=True):
        assert mine["counts"] == list(row["counts"]) and mine["loss"] == row["loss"]
        assert mine["mask_changed"] == (None if row["mask_changed"] != row["mask_changed"] else row["mask_changed"])


def test_a_claim_without_a_number_is_null_in_the_json(
    finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    against = Against("another", "x", incomparable("they prune differently"))
    monkeypatch.setattr("sds_core.reports.report_numbers.claims_about", lambda _: {"base": against})
    (told,) = json.loads(report(finished, str(tmp_path / "a.html"))[2].read_text())["claims"].values()
    assert told["claim"]["log_ratio"] is None and told["claim"]["verdict"] == "not comparable"


def test_a_run_whose_errors_are_unknown_has_no_pictures(finished: Run, tmp_path: Path) -> None:
    run = Run(shutil.copytree(finished.folder, tmp_path / "run"))
    unknown = [layer_row(block=block, loss=math.nan) for block in range(2)]
    for rows in (unknown, [layer_row(block=0, stage="pruned", round=1), layer_row(block=0, round=1)]):
        shutil.rmtree(run.folder / "distributions")
        (run.folder / "distributions").mkdir()
        layer_stats.save(run.folder / "distributions" / "fused-000.parquet", rows)
        (page, *_) = report(run, str(tmp_path / f"{len(list(tmp_path.iterdir()))}.html"))
        assert "figure-0" not in page.read_text(encoding="utf-8")


def test_the_csv_holds_a_line_a_layer_and_stage(made: list[Path], finished: Run) -> None:
    with open(made[1], encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    layers = layer_stats.load(finished.folder)
    assert [(line["linear"], line["stage"], float(line["loss"])) for line in lines] == [
        (row["linear"], row["stage"], row["loss"]) for row in layers.to_dict("records")
    ]
    assert "\n" not in "".join(cell for line in lines for cell in line.values())
    assert not any(cell.startswith("[") for line in lines for cell in line.values()), "an array is no cell"
    assert {"counts", "corner", "norms"}.isdisjoint(lines[0])


def test_a_hostile_title_stays_text(finished: Run, tmp_path: Path) -> None:
    copied = Run(shutil.copytree(finished.folder, tmp_path / finished.id))
    config = copied.raw_config()
    (copied.folder / "config.json").write_text(json.dumps(config | {"title": HOSTILE, "calibration": f"{HOSTILE}.txt"}))
    for path in (copied.folder / "distributions").glob("*.parquet"):
        frame = pd.read_parquet(path)
        frame["linear"] = HOSTILE + frame["linear"]
        frame.to_parquet(path)
    page = Reader(report(copied, str(tmp_path / "hostile.html"))[0].read_text(encoding="utf-8"))
    assert [tag for tag, _ in page.tags].count("script") == 2
    assert not any(tag == "img" or any(name.startswith("on") for name in attributes) for tag, attributes in page.tags)
    assert page.text.count(HOSTILE) >= 4  # head, heading, table, captions


@pytest.mark.parametrize("there", ["run.html", "run.csv", "run.json"])
def test_nothing_is_overwritten(finished: Run, tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_text("mine")
    with pytest.raises(SDSError, match=f"{there} in .* would be overwritten"):
        report(finished, str(tmp_path / "run.html"))
    assert [(path.name, path.read_text()) for path in tmp_path.glob("run.*")] == [(there, "mine")]


@pytest.mark.parametrize("name", ["run", "run.pdf", "run.html/"])
def test_a_report_is_called_html(finished: Run, tmp_path: Path, name: str) -> None:
    if name == "run.html/":
        (tmp_path / "run.html").mkdir()
    with pytest.raises(SDSError, match=r"\.html"):
        report(finished, str(tmp_path / name))


def test_an_unfinished_run_has_no_report(finished: Run, tmp_path: Path) -> None:
    copied = Run(shutil.copytree(finished.folder, tmp_path / finished.id))
    (copied.folder / "result.json").unlink()
    with pytest.raises(SDSError, match=rf"run {finished.id} is .*, not finished.*resume {finished.id}"):
        report(copied, str(tmp_path / "run.html"))
    assert not list(tmp_path.glob("run.*"))


def test_routes_of_a_mixture_are_in_report_and_list(
    finished: Run, tmp_path: Path, runs_root: Path, capsys: pytest.CaptureFixture
) -> None:
    copied = Run(shutil.copytree(finished.folder, runs_root / "routed"))
    result = finished.finished_result()
    routes = RouteChange((BlockRoutes(0, 0.125), BlockRoutes(2, 0.375)))
    measured = {**result.perplexity, result.last: replace(result.last_perplexity, routes=routes)}
    typed_json.write(copied.folder / "result.json", replace(result, perplexity=measured))
    paths = report(copied, str(tmp_path / "run.html"))
    text = Reader(paths[0].read_text(encoding="utf-8")).text
    assert routes.sentence in text and "tokens sent to other experts" in text and "25.0 %" in text
    assert to_json(routes) in [
        one.get("routes") for one in json.loads(paths[2].read_text())["result"]["perplexity"].values()
    ]
    list_runs(Namespace())
    assert "25.0% to other experts" in next(x for x in capsys.readouterr().out.splitlines() if x.startswith("routed"))


def test_no_run_moves_the_cursor_of_a_terminal(finished: Run, runs_root: Path, capsys: pytest.CaptureFixture) -> None:
    copied = Run(shutil.copytree(finished.folder, runs_root / "foreign"))
    (copied.folder / "note.txt").write_text("\x1b[2Jgone\x07nothing ü")
    typed_json.write(copied.folder / "config.json", copied.raw_config() | {"model": "a\x1b]0;title\x07"})
    list_runs(Namespace())
    (line,) = capsys.readouterr().out.splitlines()
    assert line.isprintable() and "\\x1b[2Jgone\\x07nothing ü" in line and "a\\x1b]0;title\\x07" in line


def test_a_run_without_distributions_is_reported_in_tables(finished: Run, tmp_path: Path) -> None:
    copied = Run(shutil.copytree(finished.folder, tmp_path / finished.id))
    shutil.rmtree(copied.folder / "distributions")
    page = Reader(report(copied, str(tmp_path / "run.html"))[0].read_text(encoding="utf-8"))
    assert not page.scripts and "Perplexity" in page.text
