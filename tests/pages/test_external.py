"""The pages show a checkpoint that was pruned elsewhere like any other run."""

import json

from pages.ui import studio_details
from sds_core.reports.export import export
from sds_core.runs.external import external_config
from sds_core.runs.new_run import create
from tests.pages.conftest import tiny, work_off
from tests.pages.test_compare import opened


def test_every_page_opens_it(runs, app, tiny_folder, tmp_path):
    mine = work_off(create(tiny(tiny_folder, method="base")))
    folder = export(mine, str(tmp_path / "pruned"))
    its = work_off(create(external_config(str(folder), str(tiny_folder), tiny(tiny_folder).to_dict())))
    at = app("pages/report.py", run=its.id)
    assert not at.exception and not at.error
    at = app("pages/studio.py", **studio_details.address(its))
    assert not at.exception and not at.error
    pictures = [json.loads(one.proto.json)[0] for one in at.get("bidi_component")]
    shown = next(one for one in pictures if "pattern_says" in one)
    assert [one["name"] for one in shown["runs"]] == ["existing checkpoint"] and shown["stages"] == ["dense", "sparse"]
    at = app("pages/compare.py", runs=f"{mine.id},{its.id}")
    assert not at.exception and not at.error
    assert any("existing checkpoint" in text.value for text in opened(at, "numbers").markdown)


def test_the_studio_shows_it_where_there_is_no_other_run(runs, app, tiny_folder, tmp_path):
    folder = export(work_off(create(tiny(tiny_folder, method="base"))), str(tmp_path / "pruned"))
    asked = tiny(tiny_folder, eval_windows=4).to_dict()
    its = work_off(create(external_config(str(folder), str(tiny_folder), asked)))
    at = app("pages/studio.py", experiment=its.id)
    assert not at.exception and not at.error
    (board,) = at.get("bidi_component")
    (column,) = json.loads(board.proto.json)[0]["runs"]
    assert column["name"] == "existing checkpoint" and "base" not in column and "origin" not in column
    assert "same" not in column["cells"]["sparse"] and column["cells"]["sparse"]["perplexity"]
