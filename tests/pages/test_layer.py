"""The Layer page: one layer's pictures and numbers, and the ways an address can be wrong."""

import json

import pytest

from sds_core.runs.layer_stats import load
from sds_core.runs.new_run import create
from tests.pages.conftest import tiny, work_off
from tests.pages.test_run import MODEL, address, texts

PAGE = "pages/layer.py"


def figure(at, key: str) -> dict:
    """A drawn picture as the browser gets it."""
    return next(json.loads(c.proto.spec) for c in at.get("plotly_chart") if c.proto.id.endswith(key))


def keys(at) -> list[str]:
    return [chart.proto.id.rpartition("-")[2] for chart in at.get("plotly_chart")]


def test_without_runs_it_says_where_to_make_one(runs, app):
    at = app(PAGE)
    assert not at.exception and at.title[0].value == "What happened to these weights?"
    assert "There are no runs yet" in at.info[0].value


def test_a_finished_run_is_drawn(finished, app):
    run = finished["fused"]
    at = app(PAGE, run=run.id)
    assert not at.exception
    assert keys(at) == ["ridges", "player", "density", "masks", "map"]
    stages = [trace["name"] for trace in figure(at, "ridges")["data"] if "fill" in trace]
    assert stages == ["dense", "sparse", "re-dense", "final"]
    assert [step["label"] for step in figure(at, "player")["layout"]["sliders"][0]["steps"]] == ["1", "2", "3"]


def test_the_change_in_perplexity_is_at_the_top(finished, app):
    result = finished["fused"].result().perplexity
    at = app(PAGE, run=finished["fused"].id)
    ratio = result["final"].value / result["dense"].value
    assert at.markdown[0].value.startswith("##### Perplexity")
    for part in (f"{result['dense'].value:,.2f} dense", f"{result['final'].value:,.2f} final", f"× {ratio:.3f}"):
        assert part in at.markdown[0].value


def test_gradient_steps_are_played_as_rounds(finished, app):
    run = finished["staged"]
    assert run.config.method == "sds"
    steps = figure(app(PAGE, run=run.id), "player")["layout"]["sliders"][0]["steps"]
    assert [step["label"] for step in steps] == ["1", "2", "3"]


def test_a_run_without_rounds_has_no_player(finished, app):
    assert "player" not in keys(app(PAGE, run=finished["phase1"].id))


def test_a_run_of_phase_1_shows_the_stages_it_has(finished, app):
    at = app(PAGE, run=finished["phase1"].id)
    assert not at.exception
    assert {trace["name"] for trace in figure(at, "ridges")["data"]} == {"dense", "sparse"}
    assert any("sparse weights" in heading.value for heading in at.subheader)
    assert "final" not in at.table[0].value.columns


def test_the_newest_run_is_shown_where_none_is_named(finished, app):
    from sds_core.runs.run_folder import ids

    at = app(PAGE)
    assert address(at, "run") == ids()[0] and at.selectbox(key="layer-run").value == ids()[0]


def test_the_address_chooses_the_layer(finished, app):
    at = app(PAGE, run=finished["fused"].id, cell="2.mlp.up_proj")
    assert at.selectbox(key="layer-block").value == 2
    assert at.selectbox(key="layer-linear").value == "mlp.up_proj"
    assert figure(at, "map")["layout"]["shapes"][0]["y0"] == 1.5


def test_the_boxes_write_the_address(finished, app):
    at = app(PAGE, run=finished["fused"].id)
    at.selectbox(key="layer-block").set_value(1).run()
    at.selectbox(key="layer-linear").set_value("mlp.gate_proj").run()
    assert address(at, "cell") == "1.mlp.gate_proj"
    assert any("block 1, mlp.gate_proj" in heading.value for heading in at.subheader)
    at.selectbox(key="layer-run").set_value(finished["staged"].id).run()
    assert not at.exception
    assert address(at, "run") == finished["staged"].id and "cell" not in at.query_params


def test_the_table_shows_the_records_numbers(finished, app):
    run = finished["fused"]
    at = app(PAGE, run=run.id, cell="1.mlp.down_proj")
    record = load(run.folder)
    layer = record[(record["block"] == 1) & (record["linear"] == "mlp.down_proj") & (record["round"] == 0)]
    final = layer[layer["stage"] == "final"].iloc[0]
    table = at.table[0].value.set_index("statistic")["final"]
    shown = {name.split(".")[0].strip("*"): value for name, value in table.items()}
    assert shown["Output error"] == f"{100 * final['loss']:.2f}\N{NO-BREAK SPACE}%"
    assert shown["Pruned"] == "50.00\N{NO-BREAK SPACE}%"
    assert shown["Spread"] == f"{final['std'] / final['dense_std']:.2f}"
    assert shown["Kurtosis"] == f"{final['kurtosis']:.2f}"
    assert shown["Mask changed"] == f"{100 * final['mask_changed']:.2f}\N{NO-BREAK SPACE}%"


def test_every_statistic_is_explained(finished, app):
    at = app(PAGE, run=finished["fused"].id)
    assert all(name.count(".") >= 2 for name in at.table[0].value["statistic"])
    assert list(at.table[0].value.columns) == ["statistic", "dense", "sparse", "re-dense", "final"]


@pytest.mark.parametrize(
    "cell", ["99.mlp.up_proj", "1.nothing", "x", "-1.mlp.up_proj", "²", "../../x", "\x00", "1" * 300]
)
def test_a_layer_that_is_none_is_refused_and_the_first_is_shown(finished, app, cell):
    at = app(PAGE, run=finished["fused"].id, cell=cell)
    assert not at.exception
    assert "no layer" in at.error[0].value and len(at.error[0].value) < 200
    assert at.selectbox(key="layer-block").value == 0 and "map" in keys(at)


@pytest.mark.parametrize("name", ["no-such-run", "../x", "/etc/passwd", "\x00", "a" * 300])
def test_a_run_that_is_none_is_refused_in_a_sentence(finished, app, name):
    at = app(PAGE, run=name)
    assert not at.exception
    assert any(word in at.error[0].value for word in ("Not a run id", "no such run"))
    assert at.selectbox(key="layer-run").value is None
    at.selectbox(key="layer-run").set_value(finished["fused"].id).run()
    assert not at.exception and not at.error and "map" in keys(at)


def test_a_run_that_has_only_begun_says_so(runs, app, made):
    at = app(PAGE, run=made(MODEL).id)
    assert not at.exception
    assert "No block of this run is done yet" in at.info[0].value
    assert "No perplexity yet" in texts(at)


def test_a_broken_record_is_a_sentence(runs, app, made):
    run = made(MODEL)
    (run.folder / "distributions").mkdir()
    (run.folder / "distributions" / "fused-000.parquet").write_bytes(b"nonsense")
    at = app(PAGE, run=run.id)
    assert not at.exception and "broken" in at.error[0].value


def test_the_density_of_another_stage_can_be_chosen(finished, app):
    at = app(PAGE, run=finished["fused"].id)
    assert figure(at, "density")["layout"]["yaxis"]["title"]["text"] == "final weight"
    at.segmented_control(key="layer-stage").set_value("redense").run()
    assert not at.exception
    assert figure(at, "density")["layout"]["yaxis"]["title"]["text"] == "re-dense weight"


def test_a_run_of_a_base_pruner_has_no_second_mask(finished, app):
    assert "masks" not in keys(app(PAGE, run=finished["phase1"].id))


def test_every_cell_of_the_map_can_be_clicked(finished, app):
    points = figure(app(PAGE, run=finished["fused"].id), "map")["data"][1]
    record = load(finished["fused"].folder)
    cells = {(block, linear) for block, linear in zip(record["block"], record["linear"], strict=True)}
    assert {tuple(cell[:2]) for cell in points["customdata"]} == cells and points["marker"]["opacity"] == 0


def test_a_skipped_layer_is_said_to_be_one_and_the_page_opens_on_another(runs, app, tiny_folder):
    run = work_off(create(tiny(tiny_folder, method="base", exclude="*.0.* *.1.*.q_proj")))
    at = app("pages/layer.py", run=run.id)
    assert not at.exception and (at.selectbox[1].value, at.selectbox[2].value) == (1, "self_attn.k_proj")
    at = app("pages/layer.py", run=run.id, cell="1.self_attn.q_proj")
    assert not at.exception and "not pruned" in at.info[0].value
