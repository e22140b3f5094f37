"""The pages show a checkpoint that was pruned elsewhere like any other run."""

import json

from pages.ui import studio_details
from sds_core.runs.export import export
from sds_core.runs.external import external_config
from sds_core.runs.new_run import create
from tests.pages.conftest import tiny, work_off


def test_every_page_opens_it(runs, app, tiny_folder, tmp_path):
    mine = work_off(create(tiny(tiny_folder, method="base")))
    folder = export(mine, str(tmp_path / "pruned"))
    its = work_off(create(external_config(str(folder), str(tiny_folder), tiny(tiny_folder).to_dict())))
    for page in ("report", "run"):
        at = app(f"pages/{page}.py", run=its.id)
        assert not at.exception and not at.error, page
        if page == "run":
            boxes = {box.label: box for box in at.selectbox}
            assert (boxes["Method"].value, boxes["Pruner"].value) == ("sds-admm", "wanda")
            assert "checkpoint" not in boxes["Method"].options
    at = app("pages/studio.py", **studio_details.address(its))
    assert not at.exception and not at.error
    shown = json.loads(at.get("bidi_component")[0].proto.json)[0]
    assert [one["name"] for one in shown["runs"]] == ["existing checkpoint"] and shown["stages"] == ["dense", "sparse"]
    at = app("pages/compare.py", runs=f"{mine.id},{its.id}")
    assert not at.exception and not at.error
    assert any("existing checkpoint" in text.value for text in at.markdown)
