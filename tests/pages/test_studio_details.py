"""The details of a layer, a dialog of the Studio: its address, its numbers, and what cannot be shown."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pages.ui import studio_details
from pages.ui.details_numbers import Source
from pages.ui.pictures.details import RunName
from pages.ui.pictures.wire import pack_codes, pack_steps, pack_values
from sds_core.models.route_change import BlockRoutes, RouteChange
from sds_core.pruning.pattern import NM
from sds_core.pruning.perplexity import Perplexity
from sds_core.runs.distribution_files import SCHEMA, files
from sds_core.runs.layer_details import read_layer
from sds_core.runs.layer_numbers import block_files, read_block
from sds_core.runs.new_run import create
from sds_core.runs.recorded_values import MeasuredPerplexity
from tests.by_hand import made as by_hand
from tests.pages.conftest import SDS, tiny, work_off
from tests.pages.test_studio import PAGE

LOSSES = Perplexity((2.0, 2.5), 31)
OPEN = {"run": "sds-wanda", "layer": "1.mlp.up_proj", "details": "1"}


def shown(at) -> dict:
    """The numbers of the picture in the dialog."""
    assert not at.exception and not at.error, [one.value for one in at.error]
    numbers = [json.loads(one.proto.json)[0] for one in at.get("bidi_component")]
    return next(one for one in numbers if "density" in one or "corner" in one or "no_corner" in one)


def in_dialog(at) -> bool:
    return len(at.get("bidi_component")) > 1


def test_the_address_opens_the_details_over_the_board(stepped, app):
    found = shown(app(PAGE, **OPEN, stage="redense"))
    assert found["view"]["run"] == "sds-wanda" and found["stage"] == "redense"
    assert found["view"]["at"] == 7 + found["linears"].index("mlp.up_proj")
    assert [one["key"] for one in found["runs"]] == ["wanda", "sds-wanda"]
    assert found["runs"][1]["origin"] == "Wanda"
    assert found["stages"] == ["dense", "sparse", "redense", "final"]


def test_without_it_in_the_address_there_is_no_dialog(stepped, app):
    assert not in_dialog(app(PAGE, run="sds-wanda"))


def test_the_numbers_are_those_of_the_record(stepped, app):
    found = shown(app(PAGE, **OPEN))
    folder = stepped.run_of(SDS, 3).folder
    recorded = {key: one for path in block_files(folder)[1] for key, one in read_block(path).items()}
    whole = read_layer(folder, 1, "mlp.up_proj").stages
    rows = {row["name"]: row["values"] for row in found["numbers"]}
    for stage in ("sparse", "redense", "final"):
        layer = recorded["mlp.up_proj", stage, 0]
        assert rows["output error"][stage] == pytest.approx(layer.loss)
        assert rows["zeros"][stage] == pytest.approx(layer.zeros)
        assert rows["kurtosis"][stage] == pytest.approx(whole[stage].kurtosis)
    assert "dense" not in rows["output error"] and rows["spread, σ"]["dense"] == pytest.approx(1)
    assert set(rows["mask changed"]) == {"sparse", "final"}
    assert [one["number"] for one in found["rounds"]] == [1, 2]


def test_density_and_zero_strip_hold_every_weight(stepped, app):
    found = shown(app(PAGE, **OPEN))
    whole = read_layer(stepped.run_of(SDS, 3).folder, 1, "mlp.up_proj").stages
    joint = whole["final"].joint[11:53, 11:53]
    assert found["density"]["counts"] == pack_values(joint.flatten().tolist())
    gone = whole["redense"].joint.sum(axis=1) - whole["final"].joint.sum(axis=1)
    assert found["density"]["gone"] == pack_values(gone[11:53].tolist())
    assert found["density"]["zeros"] == 0.5
    assert found["density"]["total"] == joint.sum() + gone.sum() + whole["redense"].zeros


def test_corner_codes_dropped_and_returned_weights(stepped, app):
    crop = read_layer(stepped.run_of(SDS, 3).folder, 1, "mlp.up_proj").stages["final"].crop
    found = shown(app(PAGE, **OPEN))
    assert (found["corner"]["rows"], found["corner"]["columns"], found["group"]) == (*crop.shape, 4)
    assert found["corner"]["codes"] == pack_codes(crop.flatten().tolist())
    kinds = ("pruned", "lost", "returned", "kept")
    assert found["corner"]["counts"] == dict(zip(kinds, np.bincount(crop.flatten(), minlength=4), strict=True))
    before = shown(app(PAGE, **OPEN, stage="redense"))["corner"]["counts"]
    assert before["lost"] == before["returned"] == 0


def test_corner_has_weights_and_norms_rounds_have_masks(stepped, app):
    found = shown(app(PAGE, **OPEN, corner="weights"))
    record = read_layer(stepped.run_of(SDS, 3).folder, 1, "mlp.up_proj")
    weights, step = pack_steps(record.stages["final"].corner.flatten().tolist())
    assert found["view"]["corner"] == "weights" and found["corner"]["weights"] == weights
    assert found["corner"]["step"] == pytest.approx(step)
    assert found["corner"]["norms"] == pack_values(record.stages["final"].norms.tolist())
    assert [one["codes"] for one in found["rounds"]] == [
        pack_codes(c.flatten().tolist()) for c in record.rounds.values()
    ]


def test_of_the_dense_layer_nothing_has_moved(stepped, app):
    found = shown(app(PAGE, **OPEN, stage="dense"))
    assert found["density"]["stayed"] == 1 and "gone" not in found["density"] and list(found["cells"]) == ["dense"]


def test_base_pruner_alone_has_no_rounds_and_says_so(stepped, app):
    found = shown(app(PAGE, **OPEN | {"run": "wanda"}))
    assert found["stages"] == ["dense", "sparse"] and not found["rounds"] and "no rounds" in found["no_rounds"]


@pytest.mark.parametrize(
    "phase, key, stage", [(1, "wanda", "sparse"), (2, "sds-wanda", "redense"), (3, "sds-wanda", "final")]
)
def test_a_runs_id_leads_to_its_variant_and_stage(stepped, app, phase, key, stage):
    asked = studio_details.address(stepped.run_of(SDS, phase), "1.mlp.up_proj")
    assert asked["experiment"] == stepped.name
    at = app(PAGE, **asked)
    found = shown(at)
    assert (found["view"]["run"], found["stage"]) == (key, stage)
    assert at.query_params["run"] in (key, [key])


def test_old_address_of_a_layer_leads_to_its_details(stepped, app):
    at = app("pages/layer.py", run=stepped.run_of(SDS, 3).id, cell="1.mlp.up_proj")
    found = shown(at)
    assert found["view"]["run"] == "sds-wanda" and found["view"]["at"] == 7 + found["linears"].index("mlp.up_proj")


@pytest.mark.parametrize("name", ["no-such-run", "../x", "", "\x00"])
def test_old_address_of_no_run_is_reported(runs, app, name):
    at = app("pages/layer.py", run=name)
    assert not at.exception and at.error[0].value


def test_unnamed_run_is_grouped_by_shared_options(finished, app):
    run = finished["fused"]
    found = shown(app(PAGE, **studio_details.address(run, "2.mlp.up_proj")))
    assert found["view"]["run"] == "sds-admm-wanda"
    assert found["view"]["at"] == 2 * 7 + found["linears"].index("mlp.up_proj")
    assert [one["number"] for one in found["rounds"]] == [1, 2, 3]


@pytest.mark.parametrize("layer", ["99.mlp.up_proj", "1.nothing", "x", "-1.mlp.up_proj", "²", "\x00", "1" * 300])
def test_unknown_layer_is_refused_and_the_first_shown(stepped, app, layer):
    at = app(PAGE, **OPEN | {"layer": layer})
    assert "no record of a layer" in at.error[0].value and len(at.error[0].value) < 200
    numbers = [json.loads(one.proto.json)[0] for one in at.get("bidi_component")]
    assert {one["view"]["at"] for one in numbers if "corner" in one} == {0}


def test_a_skipped_layer_is_refused_and_another_is_shown(runs, app, tiny_folder):
    run = work_off(create(tiny(tiny_folder, method="base", exclude="*.0.* *.1.*.q_proj")))
    found = shown(app(PAGE, **studio_details.address(run)))
    assert found["view"]["at"] == 7 + found["linears"].index("self_attn.k_proj")
    at = app(PAGE, **studio_details.address(run, "1.self_attn.q_proj"))
    assert "no record of a layer" in at.error[0].value


@pytest.mark.parametrize("name", ["no-such-run", "../x", "/etc/passwd", "\x00", "a" * 300])
def test_run_that_is_none_is_refused(stepped, app, name):
    at = app(PAGE, **OPEN | {"run": name})
    assert not at.exception and "no run" in at.error[0].value and len(at.error[0].value) < 200


def test_a_variant_without_blocks_says_so_and_no_more(runs, app, made):
    run = made(model="demo", method="base", schedule="staged", phase=1)
    at = app("pages/studio.py", experiment=run.id, run="wanda", details="1")
    assert not at.error and "No block is done yet" in at.info[0].value
    assert "no run “gone” here" in app("pages/studio.py", experiment=run.id, run="gone", details="1").error[0].value


def test_a_run_without_blocks_says_so(runs, app):
    at = app(PAGE, **studio_details.address(by_hand((1.0, 2.0, 3.0))))
    assert not at.exception and any("No block is done yet" in one.value for one in at.info)


def test_broken_record_is_reported(stepped, app):
    for path in (stepped.run_of(SDS, 3).folder / "distributions").glob("*-001.parquet"):
        path.unlink()
        path.write_bytes(b"nonsense")
    at = app(PAGE, **OPEN)
    assert not at.exception and "broken" in at.error[0].value


def test_what_is_picked_is_in_the_address(stepped, app):
    at = app(PAGE, **OPEN)
    model = studio_details.Model(3, tuple(shown(at)["linears"]))
    assert model.address(8) == "1.self_attn.k_proj" and model.address(99) is None and model.address("x") is None


def test_distributions_of_unlogged_layers_are_refused(stepped, app):
    for path in [path for run, _ in stepped.members for _, path in files(run.folder)]:
        frame = pq.read_table(path).to_pandas()
        frame["linear"] = "another." + frame["linear"]
        pq.write_table(pa.Table.from_pandas(frame, schema=SCHEMA, preserve_index=False), path)
    at = app(PAGE, **OPEN)
    assert not at.exception
    assert "istributions and log of this run are of different layers" in at.error[-1].value


def test_an_experts_details_say_how_many_tokens_go_elsewhere():
    routes = RouteChange((BlockRoutes(1, 0.25),))
    measured = {"final": replace(MeasuredPerplexity.of(LOSSES, LOSSES), routes=routes)}
    record = SimpleNamespace(perplexity=measured.get)
    source = Source(RunName("run", "a run", "sds"), NM(2, 4), dict.fromkeys(("dense", "final"), record))
    assert source.other_experts(1, "mlp.experts.3.down_proj") == {"final": 0.25}
    assert source.other_experts(0, "mlp.experts.3.down_proj") == source.other_experts(1, "self_attn.q_proj") == {}
