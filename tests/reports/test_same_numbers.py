"""Compare, the command line, the report and the model card say the same number with the same digits."""

import json
from html import unescape

import pytest

from sds_core.comparison.claims import numbers, short
from sds_core.comparison.compare import side_by_side, table
from sds_core.comparison.references import claims_about
from sds_core.reports.export import export
from sds_core.reports.report import rendered
from sds_core.runs.new_run import create
from tests.small_runs import config, finish


@pytest.fixture
def pair(runs_root, tiny_folder):
    """A base run, and the same pruner's `adjusted`."""
    return [finish(create(config(tiny_folder, method=method))) for method in ("base", "adjusted")]


def test_a_ratio_to_the_base_is_the_same_everywhere(pair, tmp_path):
    base, adjusted = pair
    against = claims_about(adjusted)["base"]
    assert against.run == base.id
    assert short(against.claim) in table(side_by_side(pair))
    files = rendered(adjusted)
    assert numbers(against.claim) in unescape(files[".html"]) and against.name in unescape(files[".html"])
    card = (export(adjusted, str(tmp_path / "out")) / "README.md").read_text(encoding="utf-8")
    assert f"| × {against.name}, ± windows ± seeds | {short(against.claim)}, {against.claim.verdict} |" in card
    saved = json.loads(files[".json"])["claims"]["base"]
    assert (saved["run"], saved["claim"]["log_ratio"]) == (base.id, against.claim.log_ratio)


def test_phase_1_run_is_called_its_base_pruner_everywhere(runs_root, tiny_folder, tmp_path):
    run = finish(create(config(tiny_folder, method="sds", schedule="staged", phase=1)))
    card = (export(run, str(tmp_path / "out")) / "README.md").read_text(encoding="utf-8")
    page = rendered(run)[".html"]
    assert "# Wanda, 2:4, of" in card and "Sparse-Dense-Sparse" not in card
    assert "<p>Wanda · 2:4 · " in page
    assert "Wanda" in table(side_by_side([run])) and "SDS" not in table(side_by_side([run]))
