"""The Compare page: what it says of runs whose losses are written by hand, and the ways an address can be wrong."""

import math

import numpy as np
import pytest

from pages.ui import chooser
from sds_core.runs import layer_stats
from sds_core.runs.config import Parent
from sds_core.runs.run_folder import Run, ids
from sds_core.runs.study import SPREAD
from tests.pages.conftest import figure, keys
from tests.pages.test_run import CANCELLED, MODEL, address, texts
from tests.records import layer_row
from tests.runs import by_hand

PAGE = "pages/compare.py"
DENSE = (2.0, 2.5, 3.0, 2.2)
BASE = (3.0, 3.6, 4.1, 3.1)
SDS = (2.6, 3.2, 3.5, 2.8)
ERRORS = {(0, "attn.q"): 0.10, (0, "mlp.up"): 0.20, (1, "attn.q"): 0.30, (1, "mlp.up"): 0.40}


@pytest.fixture
def outcome(runs):
    """A finished run with these losses, and with these output errors if any are given."""

    def make(losses, errors=None, dense=DENSE, **options) -> Run:
        run = by_hand.made(losses, dense, **options)
        if errors:
            last = run.result().last
            rows = [layer_row(block=b, linear=c, stage=last, loss=e) for (b, c), e in errors.items()]
            run.make_folder("distributions")
            layer_stats.save(run.folder / "distributions" / "fused-000.parquet", rows)
        return run

    return make


def compared(app, *runs: Run, **more: str):
    at = app(PAGE, runs=",".join(run.id for run in runs), **more)
    assert not at.exception
    return at


def headlines(at):
    """The sentences that answer the page's question, where all runs have one pattern."""
    return [m.value for m in at.markdown if m.value.startswith("##### ")]


def numbers(at):
    """The table of the compared runs; before it comes the list of all."""
    return at.dataframe[1].value


def test_without_runs_it_says_where_to_make_some(runs, app):
    at = app(PAGE)
    assert not at.exception and at.title[0].value == "Which is better here, and is it sure?"
    assert "There are no runs yet" in at.info[0].value


def test_real_runs_are_compared(finished, app):
    at = compared(app, *finished.values())
    assert "At 2:4: " in texts(at) and "standard errors" in texts(at)
    assert keys(at) == ["forest_base", "forest_dense", "maps"], "the staged run has its own phase 1"
    assert len(at.get("download_button")) == 1 and len(numbers(at)) == 3


def test_the_better_run_is_named_with_both_errors(outcome, app):
    at = compared(app, outcome(BASE), outcome(SDS, method="sds"))
    differences = np.subtract(SDS, BASE)
    ratio, error = math.exp(differences.mean()), differences.std(ddof=1) / 2
    (said,) = headlines(at)
    assert "**SDS · Wanda** is surely better than **Wanda**" in said
    assert (
        f"ratio {ratio:.3f} ± {ratio * error:.3f} (windows) ± {ratio * 0.034:.3f} (seeds of the shipped study)" in said
    )
    assert SPREAD["sds:wanda", "base:wanda"] == 0.034


def test_what_is_not_sure_is_called_so(outcome, app):
    at = compared(app, outcome(BASE), outcome((3.3, 3.2, 4.3, 2.9), method="sds"))
    (said,) = headlines(at)
    assert "It is not sure whether **SDS · Wanda** or **Wanda** is better" in said and "surely" not in said


def test_of_three_both_the_sure_and_the_doubtful_are_named(outcome, app):
    losing = outcome(np.add(SDS, 2.0), method="adjusted")
    near = outcome(np.add(SDS, (0.1, -0.08, 0.1, -0.1)), method="sds-admm")
    at = compared(app, outcome(SDS, method="sds"), near, losing)
    (said,) = headlines(at)
    assert "not sure whether **SDS · Wanda** or **SDS-ADMM · Wanda** is better" in said
    assert "Against **base + adjustment · Wanda** (" in texts(at) and "it is surely better" in texts(at)


def test_one_command_run_twice_is_the_noise_floor(outcome, app):
    at = compared(app, outcome(BASE), outcome(np.add(BASE, 0.03), machine=by_hand.EPYC))
    (said,) = headlines(at)
    assert "noise floor, made by another processor" in said and "better" not in said
    assert "forest_base" not in keys(at)


def test_a_redense_model_is_ranked_nowhere(outcome, app):
    redense = outcome(DENSE, method="sds", schedule="staged", phase=2, parent=Parent("x", 1, "0"))
    base, sds = outcome(BASE), outcome(SDS, method="sds")
    at = compared(app, base, sds, redense)
    assert "re-dense model" in texts(at) and sorted(numbers(at)["id"]) == sorted([base.id, sds.id])
    labels = figure(at, "forest_base")["layout"]["yaxis"]["ticktext"]
    assert len(labels) == 1 and labels[0].startswith("SDS · Wanda<br>")


def test_a_phase_1_run_is_called_its_base_pruner(outcome, app):
    phase1 = outcome(BASE, method="sds", schedule="staged", phase=1)
    at = compared(app, phase1, outcome(SDS, method="sds"))
    assert "surely better than **Wanda**" in headlines(at)[0]
    assert set(at.dataframe[0].value["made by"]) == {"Wanda", "SDS · Wanda"}


def test_the_base_of_a_ratio_is_named_and_does_not_change_with_the_choice(outcome, app):
    base, again, sds = outcome(BASE), outcome(np.add(BASE, 0.2)), outcome(SDS, method="sds")
    for shown in ([sds], [again, sds], [base, again, sds]):
        at = compared(app, *shown)
        captions = [caption.value.replace("\\", "") for caption in at.caption]
        assert f"× base of SDS · Wanda: Wanda · {base.id[-6:]} ({base.id})" in captions
        label = figure(at, "forest_base")["layout"]["yaxis"]["ticktext"][0]
        assert label.startswith(f"SDS · Wanda<br>{math.exp(np.mean(np.subtract(SDS, BASE))):.3f} [")
        assert label.endswith(f"<br>of Wanda · {base.id[-6:]}")


def test_different_patterns_are_not_ranked(outcome, app):
    at = compared(app, outcome(BASE), outcome(SDS, pattern="30%"))
    assert not any(m.value.startswith("##### ") for m in at.markdown)
    assert any("same pattern" in info.value for info in at.info)


def test_forest_plots_of_every_reference_that_is_there(outcome, app):
    at = compared(app, outcome(BASE), outcome(np.subtract(BASE, 0.1), method="adjusted"), outcome(SDS, method="sds"))
    assert keys(at)[:3] == ["forest_base", "forest_control", "forest_dense"]
    names = [label.partition("<br>")[0] for label in figure(at, "forest_base")["layout"]["yaxis"]["ticktext"]]
    assert names == ["SDS · Wanda", "base + adjustment · Wanda"]
    assert "make its run too" not in texts(at)
    alone = compared(app, outcome(SDS, method="sds", pruner="sparsegpt"))
    assert "forest_base" not in keys(alone) and "make its run too" in texts(alone)


def test_runs_that_cannot_be_paired_are_named_with_the_reason_and_the_rest_is_shown(outcome, app, made):
    fine = [outcome(BASE), outcome(SDS, method="sds")]
    text = outcome(SDS, evaluation="python-docs.txt")
    model = outcome(SDS, dense=np.add(DENSE, 1.0))
    begun = made(MODEL, CANCELLED)
    at = compared(app, *fine, text, model, begun)
    told = [m.value for m in at.markdown]
    for reason in ("it has another evaluation text", "it has another model", "it is not finished: cancelled"):
        assert any(reason in line for line in told)
    named = {link.proto.query_string for link in at.get("page_link")}
    assert {f"run={run.id}" for run in (text, model, begun)} <= named
    assert "**SDS · Wanda** is surely better" in texts(at)
    assert sorted(numbers(at)["id"]) == sorted(run.id for run in fine)


def test_unfinished_runs_alone_say_that_results_will_come(app, runs, made):
    at = compared(app, made(MODEL))
    assert any("appear here" in info.value for info in at.info)


def test_the_table_holds_the_numbers(outcome, app):
    base, sds = outcome(BASE), outcome(SDS, method="sds")
    table = numbers(compared(app, base, sds)).set_index("id")
    for name, reference in (("base", BASE), ("dense", DENSE)):
        differences = np.subtract(SDS, reference)
        assert table.loc[sds.id, f"× {name}"] == pytest.approx(math.exp(differences.mean()))
        error = math.exp(differences.mean()) * differences.std(ddof=1) / 2
        assert table.loc[sds.id, f"± {name}, windows"] == pytest.approx(error)
    assert table.loc[sds.id, "± base, seeds"] == pytest.approx(table.loc[sds.id, "× base"] * 0.034)
    assert math.isnan(table.loc[base.id, "× base"]) and table.loc[base.id, "pruned"] == 50


def test_the_address_is_the_choice(outcome, app):
    first, second, third = outcome(BASE), outcome(SDS, method="sds"), outcome(SDS, method="sds-admm")
    at = compared(app, first, third)
    assert sorted(numbers(at)["id"]) == sorted([first.id, third.id])
    picked = at.session_state[chooser.key_of(ids())]["selection"]["rows"]
    assert [ids()[row] for row in picked] == [run for run in ids() if run != second.id]


def test_without_a_choice_the_newest_that_can_be_compared_are_chosen_and_in_the_address(outcome, app):
    outcome(BASE, eval_windows=99)
    chosen = [outcome(BASE), outcome(SDS, method="sds")]
    at = app(PAGE)
    assert not at.exception
    assert sorted(address(at, "runs").split(",")) == sorted(run.id for run in chosen)


def test_who_comes_back_from_another_page_finds_the_choice_again(outcome, app):
    first, _, third = outcome(BASE), outcome(SDS, method="sds"), outcome(SDS, method="sds-admm")
    at = compared(app, first, third)
    del at.query_params["runs"]
    at.run()
    assert sorted(numbers(at)["id"]) == sorted([first.id, third.id])


def test_the_text_and_its_windows_are_said(outcome, app):
    asked = {"evaluation": "news.txt", "eval_windows": 7, "eval_length": 64}
    at = compared(app, outcome(BASE, **asked), outcome(SDS, method="sds", **asked))
    assert "Measured on news.txt, 7 windows of 64 tokens" in texts(at)


def test_nothing_chosen_says_what_to_do(outcome, app):
    outcome(BASE)
    at = app(PAGE, runs="")
    assert not at.exception and "Choose two or more runs" in at.info[-1].value


@pytest.mark.parametrize("name", ["no-such-run", "../x", "/etc/passwd", "\x00", "a" * 300, "<script>"])
def test_a_run_that_is_none_is_refused_and_the_others_are_shown(outcome, app, name):
    base, sds = outcome(BASE), outcome(SDS, method="sds")
    at = app(PAGE, runs=f"{base.id},{name},{sds.id}")
    assert not at.exception
    assert "There is no run" in at.error[0].value and len(at.error[0].value) < 200
    assert "**SDS · Wanda** is surely better" in texts(at)


def test_a_broken_result_is_a_reason(outcome, app):
    base, sds = outcome(BASE), outcome(SDS, method="sds")
    (base.folder / "result.json").write_text("{")
    at = compared(app, base, sds)
    assert "is broken" in texts(at)


def test_maps_show_two_runs_and_their_difference(outcome, app):
    better = {cell: error - 0.05 for cell, error in ERRORS.items()} | {(1, "mlp.up"): 0.5}
    base, sds = outcome(BASE, ERRORS), outcome(SDS, better, method="sds")
    at = compared(app, base, sds)
    assert at.selectbox(key="map-a").value == sds.id and at.selectbox(key="map-b").value == base.id
    assert "lower output error in **3 of 4** layers" in texts(at)
    assert figure(at, "maps")["data"][2]["z"] == [
        [pytest.approx(-5), pytest.approx(-5)],
        [pytest.approx(-5), pytest.approx(10)],
    ]


def test_the_boxes_of_the_maps_and_the_address_agree(outcome, app):
    made = [outcome(BASE, ERRORS), outcome(SDS, ERRORS, method="sds"), outcome(SDS, ERRORS, method="sds-admm")]
    at = compared(app, *made, a=made[0].id, b=made[2].id)
    assert at.selectbox(key="map-a").value == made[0].id and at.selectbox(key="map-b").value == made[2].id
    at.selectbox(key="map-b").set_value(made[1].id).run()
    assert not at.exception and address(at, "b") == made[1].id and address(at, "a") == made[0].id
    at = compared(app, *made, a="nonsense")
    assert "not among the compared runs" in at.error[0].value


def test_runs_without_a_record_have_no_map_and_say_so(outcome, app):
    at = compared(app, outcome(BASE), outcome(SDS, method="sds"))
    assert "maps" not in keys(at) and any("no record of its layers" in info.value for info in at.info)


def test_a_sweep_is_a_curve(outcome, app):
    sweep = [outcome(np.add(BASE, i), pattern=pattern) for i, pattern in enumerate(("30%", "0.5", "70%"))]
    at = compared(app, *sweep, outcome(SDS))
    (curve,) = figure(at, "curve")["data"]
    assert curve["name"] == "Wanda"
    assert curve["x"] == [30, 50, 70] and curve["y"] == [pytest.approx(math.exp(np.mean(BASE) + i)) for i in range(3)]


def test_without_a_sweep_it_says_how_to_make_one(outcome, app):
    at = compared(app, outcome(BASE), outcome(SDS, method="sds"))
    assert "curve" not in keys(at) and "differ only in their ratio" in texts(at)


def test_the_equal_command_line_is_in_view(outcome, app):
    at = compared(app, outcome(BASE), outcome(SDS, method="sds", options={"iterations": 3}))
    words = at.code[0].value.split()
    assert words[:5] == ["python", "-m", "sds_core", "compare", "--methods"]
    assert set(words[5:7]) == {"base:wanda", "sds:wanda"} and at.code[0].value.endswith("--iterations 3")


def test_a_map_of_layers_does_not_judge_blocks_that_were_adjusted_together(outcome, app):
    base = outcome(BASE, ERRORS)
    plain = outcome(SDS, ERRORS, method="adjusted")
    together = outcome(SDS, ERRORS, method="adjusted", options={"block_epochs": 2})
    warning = "which model is better, not this map"
    assert warning not in texts(compared(app, base, plain))
    assert warning in texts(compared(app, base, together))
