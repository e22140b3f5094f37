"""The Compare page: what it says of runs whose losses are written by hand, and the ways an address can be wrong."""

import json
import math

import numpy as np
import pytest

from pages.ui import compare_choice, compare_page
from pages.ui.compare_numbers import unpaired_error
from pages.ui.compare_words import answer
from pages.ui.pictures.wire import pack_values
from sds_core.comparison.claims import Claim, Verdict
from sds_core.comparison.outcomes import finished_outcomes
from sds_core.comparison.study import SPREAD
from sds_core.pruning.perplexity import Perplexity
from sds_core.runs import distribution_files
from sds_core.runs.config import Parent
from sds_core.runs.run_folder import Run, every_run
from tests import by_hand
from tests.pages.conftest import figure, keys
from tests.pages.test_studio_runs import CANCELLED, MODEL, address, texts
from tests.records import layer_row

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
        for block in {block for block, _ in errors or ()}:
            rows = [
                layer_row(block=block, linear=linear, stage=run.result().last, loss=error)
                for (b, linear), error in errors.items()
                if b == block
            ]
            (run.folder / "distributions").mkdir(exist_ok=True)
            distribution_files.save(run.folder / "distributions" / f"fused-{block:03}.parquet", rows)
        return run

    return make


def compared(app, *runs: Run, **more: str):
    at = app(PAGE, runs=",".join(run.id for run in runs), **more)
    assert not at.exception
    return at


def drawn(at) -> dict:
    """The numbers of the picture."""
    (picture,) = at.get("bidi_component")
    return json.loads(picture.proto.json)[0]


def pair(shown: dict, a: Run, ref: Run) -> dict:
    return shown["pairs"][a.id][ref.id]


def opened(at, part: str):
    """The page with one of the parts below the picture opened."""
    at.session_state[f"compare-{part}"] = True
    return at.run()


def table(at):
    return opened(at, "numbers").dataframe[0].value


def test_without_runs_it_says_where_to_make_some(runs, app):
    at = app(PAGE)
    assert not at.exception and "There are no runs yet" in at.info[0].value


def test_an_experiment_is_compared_and_named(stepped, app):
    at = app(PAGE)
    shown = drawn(at)
    assert at.selectbox(key="compare-scope").value == stepped.name == address(at, "experiment")
    names = [(run["name"], run.get("origin")) for run in shown["runs"]]
    assert sorted(names) == [("SDS", "Wanda"), ("Wanda", None)]
    assert len(shown["rows"]) == 2 and shown["blocks"] == 3 and all("map" in run for run in shown["runs"])


def test_re_dense_run_is_not_ranked(stepped, app):
    at = app(PAGE)
    assert "re-dense model" in texts(at) and "Not compared: 1" in [one.label for one in at.expander]


def test_the_better_run_is_named_with_both_errors(outcome, app):
    base, sds = outcome(BASE), outcome(SDS, method="sds")
    shown = drawn(compared(app, base, sds))
    differences = np.subtract(SDS, BASE)
    ratio, error = math.exp(differences.mean()), differences.std(ddof=1) / 2
    assert shown["answer"]["headline"] == f"SDS is better than Wanda, the next best: perplexity × {ratio:.2f}."
    assert shown["answer"]["verdict"] == "Clearly,"
    seeds = SPREAD["sds:wanda", "base:wanda"]
    both = f"{ratio:.3f} ± {ratio * error:.3f} (windows) ± {ratio * seeds:.3f} (seeds of the shipped study)"
    assert both in shown["answer"]["detail"]
    found = pair(shown, sds, base)
    assert found["log"] == pytest.approx(differences.mean()) and found["window_error"] == pytest.approx(error)
    assert found["error"] == pytest.approx(math.hypot(error, seeds)) and found["sure"] and found["lower"] == 4
    assert found["low"] == pytest.approx(ratio * math.exp(-2 * math.hypot(error, seeds)))
    assert pair(shown, base, sds)["log"] == pytest.approx(-differences.mean())


def test_the_unpaired_error_is_that_of_two_samples():
    first, second = (np.array(losses) for losses in (SDS, BASE))
    expected = math.sqrt(first.var(ddof=1) / 4 + second.var(ddof=1) / 4)
    assert unpaired_error(Perplexity(SDS, 31), Perplexity(BASE, 31)) == pytest.approx(expected)


def test_what_is_not_sure_is_called_so(outcome, app):
    base, near = outcome(BASE), outcome((3.3, 3.2, 4.3, 2.9), method="sds")
    shown = drawn(compared(app, base, near))
    assert "may be chance" in shown["answer"]["headline"] and shown["answer"]["verdict"] == "Undecided,"
    assert not pair(shown, near, base)["sure"]


def test_the_best_over_all_seeds_is_not_called_lowest_where_the_shared_one_says_otherwise():
    claim = Claim(log_ratio=0.02, window_error=0.02, seed_error=0.02, verdict=Verdict.UNDECIDED)
    assert answer(claim, "SDS", "Wanda", next_best=True).headline.startswith("SDS has the higher perplexity, × 1.02")


def test_without_other_seeds_nothing_is_sure(outcome, app):
    base, sds = outcome(BASE, pattern="50%"), outcome(SDS, method="sds", pattern="50%")
    shown = drawn(compared(app, base, sds))
    assert "Run both with other seeds" in shown["answer"]["detail"]
    assert pair(shown, sds, base)["doubt"] == "undecided: seeds unknown" and not pair(shown, sds, base)["sure"]


def test_seeds_of_one_configuration_share_a_row(outcome, app):
    shifts = (0.0, 0.02, -0.04)
    bases = [outcome(BASE, pattern="50%", seed=seed) for seed in range(3)]
    others = [outcome(np.add(SDS, by), method="sds", pattern="50%", seed=seed) for seed, by in enumerate(shifts)]
    shown = drawn(compared(app, *bases, *others))
    assert len(shown["rows"]) == 2
    run = next(run for run in shown["runs"] if run["name"] == "SDS")
    assert run["seeds"] == pytest.approx([math.exp(np.mean(SDS) + by) for by in shifts])
    assert run["value"] == pytest.approx(math.exp(np.mean(SDS) + np.mean(shifts)))
    found = pair(shown, others[0], bases[0])
    over_seeds = 4.303 / (2 * math.sqrt(3)) * np.std(shifts, ddof=1)  # as wide as Student's t demands for three
    assert found["error"] == pytest.approx(math.hypot(found["window_error"], over_seeds), rel=0.002)
    assert "seeds 0, 1 and 2" in shown["answer"]["detail"]


def test_the_clicked_row_against_the_pinned_reference_governs_all(outcome, app):
    base, sds, admm = outcome(BASE), outcome(SDS, method="sds"), outcome(np.subtract(SDS, 0.3), method="sds-admm")
    shown = drawn(compared(app, base, sds, admm))
    assert (shown["a"], shown["ref"]) == (admm.id, sds.id)
    shown = drawn(compared(app, base, sds, admm, ref=admm.id, a=base.id))
    assert (shown["view"]["a"], shown["view"]["ref"]) == (base.id, admm.id)
    assert shown["answer"]["headline"].startswith("Wanda is worse than SDS-ADMM: perplexity")


@pytest.mark.parametrize("wrong", [{"ref": "x"}, {"a": "../x"}, {"layer": "99.x"}, {"layer": "²"}])
def test_wrong_picks_in_the_address_fall_back(outcome, app, wrong):
    runs = outcome(BASE, ERRORS), outcome(SDS, ERRORS, method="sds")
    shown, plain = drawn(compared(app, *runs, **wrong)), drawn(compared(app, *runs))
    assert (shown["a"], shown["ref"], shown["view"]["at"]) == (plain["a"], plain["ref"], -1)


def test_equal_names_are_told_apart_by_what_differs(outcome, app):
    few = outcome(SDS, method="sds", options={"iterations": 3})
    many = outcome(np.subtract(SDS, 0.1), method="sds", options={"iterations": 9})
    shown = drawn(compared(app, few, many))
    assert sorted(run["origin"] for run in shown["runs"]) == ["Wanda · iterations 3", "Wanda · iterations 9"]
    assert few.id[-6:] not in str(shown["answer"]) and "iterations 9" in shown["answer"]["headline"]


def test_repeated_command_is_one_row_with_its_noise_floor(outcome, app):
    at = compared(app, outcome(BASE), outcome(np.add(BASE, 0.03), machine=by_hand.EPYC), outcome(SDS, method="sds"))
    assert len(drawn(at)["rows"]) == 2
    assert "noise floor, made by another processor" in texts(opened(at, "numbers"))


def test_a_redense_model_is_ranked_nowhere(outcome, app):
    redense = outcome(DENSE, method="sds", schedule="staged", phase=2, parent=Parent("x", 1, "0"))
    base, sds = outcome(BASE), outcome(SDS, method="sds")
    at = compared(app, base, sds, redense)
    assert "re-dense model" in texts(at) and sorted(table(at)["id"]) == sorted([base.id, sds.id])
    assert redense.id not in [run["key"] for run in drawn(at)["runs"]]


def test_a_phase_1_run_is_called_its_base_pruner(outcome, app):
    phase1 = outcome(BASE, method="sds", schedule="staged", phase=1)
    shown = drawn(compared(app, phase1, outcome(SDS, method="sds")))
    assert "SDS is better than Wanda" in shown["answer"]["headline"]


def test_different_patterns_are_not_paired_and_say_so(outcome, app):
    shown = drawn(compared(app, outcome(BASE), outcome(SDS, pattern="30%")))
    assert not shown["pairs"] and "not compared" in shown["answer"]["headline"]
    assert {why for found in shown["unpaired"].values() for why in found.values()} == {"prunes differently: not ranked"}


def test_every_pair_that_cannot_be_made_has_its_own_reason(outcome, app):
    one_shot, other = outcome(BASE), outcome(BASE, pattern="30%")
    distilled = outcome(SDS, reconstruct="model")
    unpaired = drawn(compared(app, one_shot, other, distilled))["unpaired"]
    assert "distilled models are not ranked together" in unpaired[distilled.id][one_shot.id]
    assert "prunes differently" in unpaired[other.id][one_shot.id] == unpaired[other.id][distilled.id]


def test_unpairable_runs_are_named_with_the_reason(outcome, app, made):
    fine = [outcome(BASE), outcome(SDS, method="sds")]
    text = outcome(SDS, evaluation="python-docs.txt")
    model = outcome(SDS, dense=np.add(DENSE, 1.0))
    begun = made(MODEL, CANCELLED)
    at = compared(app, *fine, text, model, begun)
    for reason in ("it has another evaluation text", "it has another model", "it is not finished: cancelled"):
        assert reason in texts(at)
    named = {link.proto.query_string for link in at.get("page_link")}
    assert {f"manage={run.id}" for run in (text, model, begun)} <= named
    assert {run["key"] for run in drawn(at)["runs"]} == {run.id for run in fine}


def test_the_model_with_fewer_runs_is_compared_when_asked_for(outcome, app):
    larger = [outcome(BASE), outcome(SDS, method="sds"), outcome(SDS, method="sds-admm")]
    other = {"model": "other", "dense": np.add(DENSE, 1.0)}
    smaller = [outcome(np.add(BASE, 1), **other), outcome(np.add(SDS, 1), method="sds", **other)]
    at = compared(app, *smaller)
    assert set(drawn(at)["rows"]) == {run.id for run in smaller} and "it has another model" in texts(at)
    assert set(drawn(app(PAGE))["rows"]) == {run.id for run in larger}
    box = app(PAGE).selectbox(key="compare-scope")
    assert box.options == ["all finished runs", smaller[0].id, larger[0].id]
    box.set_value(smaller[0].id).run()
    assert set(drawn(app(PAGE, experiment=smaller[0].id))["rows"]) == {run.id for run in smaller}


def test_all_runs_asked_for_keep_their_names_unless_they_are_the_usual_ones(outcome, monkeypatch):
    usual = [outcome(BASE), outcome(SDS, method="sds"), outcome(SDS, method="sds-admm")]
    other = {"model": "other", "dense": np.add(DENSE, 1.0)}
    others = [outcome(np.add(BASE, 1), **other), outcome(np.add(SDS, 1), method="sds", **other)]
    for runs, named in ((usual, False), (others, True)):
        names = [run.id for run in runs]
        monkeypatch.setattr("streamlit.query_params", written := {"runs": ",".join(names)})
        choice = compare_choice.choose(None, finished_outcomes(), names)
        compare_page.picked({"runs": names, "ref": "", "a": ""}, choice)
        assert ("runs" in written) is named


def test_an_unfinished_run_that_cannot_be_read_is_a_reason(outcome, app, made):
    fine, begun = [outcome(BASE), outcome(SDS, method="sds")], made(MODEL)
    begun.log.path.write_text("[]\n")
    at = app(PAGE)
    assert not at.error and set(drawn(at)["rows"]) == {run.id for run in fine}
    assert "is not an event" in texts(at)


def test_unfinished_runs_alone_say_that_results_will_come(app, runs, made):
    at = compared(app, made(MODEL))
    assert any("results appear" in info.value for info in at.info)


def test_a_run_alone_has_nothing_to_be_compared_with(outcome, app):
    assert "alone here" in drawn(compared(app, outcome(BASE)))["answer"]["headline"]


def test_the_table_and_the_file_hold_the_numbers(outcome, app):
    base, sds = outcome(BASE), outcome(SDS, method="sds")
    at = compared(app, base, sds)
    found = table(at).set_index("id")
    for name, reference in (("base", BASE), ("dense", DENSE)):
        differences = np.subtract(SDS, reference)
        assert found.loc[sds.id, f"× {name}"] == pytest.approx(math.exp(differences.mean()))
        error = math.exp(differences.mean()) * differences.std(ddof=1) / 2
        assert found.loc[sds.id, f"± {name}, windows"] == pytest.approx(error)
    assert found.loc[sds.id, "± base, seeds"] == pytest.approx(found.loc[sds.id, "× base"] * 0.034)
    assert math.isnan(found.loc[base.id, "× base"]) and found.loc[base.id, "pruned"] == 50
    assert len(at.get("download_button")) == 1


def test_tables_and_charts_wait_until_they_are_opened(outcome, app):
    at = compared(app, outcome(BASE), outcome(SDS, method="sds"))
    heavy = ("dataframe", "plotly_chart")
    assert [list(at.get(kind)) for kind in heavy] == [[], []] and len(at.get("bidi_component")) == 1
    assert keys(opened(at, "chart")) == ["perplexities"]


def test_address_selects_runs_and_others_stay_available(outcome, app):
    first, second, third = outcome(BASE), outcome(SDS, method="sds"), outcome(SDS, method="sds-admm")
    shown = drawn(compared(app, first, third))
    assert set(shown["rows"]) == {first.id, third.id} and len(shown["runs"]) == 3
    assert set(shown["view"]["runs"]) == {first.id, third.id} and second.id not in shown["rows"]


def test_selection_survives_visiting_another_page(outcome, app):
    first, _, third = outcome(BASE), outcome(SDS, method="sds"), outcome(SDS, method="sds-admm")
    at = compared(app, first, third)
    at.query_params.clear()
    at.run()
    assert set(drawn(at)["rows"]) == {first.id, third.id}


def test_text_windows_and_pattern_are_reported(outcome, app):
    asked = {"evaluation": "news.txt", "eval_windows": 4, "eval_length": 64}
    shown = drawn(compared(app, outcome(BASE, **asked), outcome(SDS, method="sds", **asked)))
    assert shown["about"] == "2:4 · news.txt, 4 windows" and shown["windows"] == 4
    assert shown["dense"]["losses"] == pack_values(DENSE)


@pytest.mark.parametrize("name", ["no-such-run", "../x", "/etc/passwd", "\x00", "a" * 300, "<script>"])
def test_unknown_run_is_refused_and_others_shown(outcome, app, name):
    base, sds = outcome(BASE), outcome(SDS, method="sds")
    at = app(PAGE, runs=f"{base.id},{name},{sds.id}")
    assert not at.exception
    assert "There is no run" in at.error[0].value and len(at.error[0].value) < 200
    assert len(drawn(at)["rows"]) == 2


def test_an_experiment_that_has_been_deleted_is_forgotten(outcome, app):
    one, *_ = [outcome(losses, experiment="gone") for losses in (BASE, SDS)]
    outcome(BASE), outcome(SDS, method="sds")
    at = app(PAGE, experiment="gone")
    assert one.id in drawn(at)["rows"]
    for run in list(every_run()):
        if run.experiment == "gone":
            run.delete()
    at.query_params.clear()
    at.run()
    assert not at.error and len(drawn(at)["rows"]) == 2


def test_an_experiment_that_is_none_is_refused(outcome, app):
    outcome(BASE)
    at = app(PAGE, experiment="gone")
    assert "no experiment “gone”" in at.error[0].value and drawn(at)


def test_a_broken_result_is_a_reason(outcome, app):
    base, sds = outcome(BASE), outcome(SDS, method="sds")
    (base.folder / "result.json").write_text("{")
    assert "is broken" in texts(compared(app, base, sds))


def test_map_holds_output_errors_and_counts_lower_ones(outcome, app):
    better = {cell: error - 0.05 for cell, error in ERRORS.items()} | {(1, "mlp.up"): 0.5}
    base, sds = outcome(BASE, ERRORS), outcome(SDS, better, method="sds")
    shown = drawn(compared(app, base, sds, layer="1.attn.q"))
    assert pair(shown, sds, base)["layers_lower"] == 3 and shown["linears"] == ["attn.q", "mlp.up"]
    run = next(run for run in shown["runs"] if run["key"] == base.id)
    assert run["map"] == pack_values(ERRORS.values()) and shown["view"]["at"] == 2


def test_runs_that_leave_out_other_layers_share_one_map(outcome, app):
    fewer = {cell: error for cell, error in ERRORS.items() if cell[1] != "attn.q"}
    best = outcome(np.subtract(SDS, 0.3), fewer, method="sds", exclude="*attn.q")
    base, sds = outcome(BASE, ERRORS), outcome(SDS, ERRORS, method="sds")
    shown = drawn(compared(app, base, sds, best))
    assert shown["rows"][0] == best.id and shown["linears"] == ["attn.q", "mlp.up"]
    maps = {run["key"]: run["map"] for run in shown["runs"]}
    assert maps[base.id] == pack_values(ERRORS.values()) and maps[best.id] == pack_values([None, 0.2, None, 0.4])


def test_runs_without_a_record_have_no_map(outcome, app):
    shown = drawn(compared(app, outcome(BASE), outcome(SDS, method="sds")))
    assert all("map" not in run for run in shown["runs"]) and "no record of its layers" in shown["no_map"]


def test_layer_map_warns_about_adjusted_blocks(outcome, app):
    base, plain = outcome(BASE, ERRORS), outcome(SDS, ERRORS, method="adjusted")
    together = outcome(SDS, ERRORS, method="adjusted", reconstruct="block")
    assert "map_note" not in drawn(compared(app, base, plain))
    assert "Whole blocks were adjusted" in drawn(compared(app, base, together))["map_note"]


def test_a_sweep_is_a_curve(outcome, app):
    sweep = [outcome(np.add(BASE, i), pattern=pattern) for i, pattern in enumerate(("30%", "0.5", "70%"))]
    at = compared(app, *sweep, outcome(SDS))
    (curve,) = figure(at, "curve")["data"]
    assert curve["name"] == "Wanda"
    assert curve["x"] == [30, 50, 70] and curve["y"] == [pytest.approx(math.exp(np.mean(BASE) + i)) for i in range(3)]
    assert "curve" not in keys(compared(app, sweep[0]))


def test_curve_and_table_hold_what_the_picture_has_no_room_for(outcome, app):
    ratios, methods = ("30%", "40%", "50%", "60%", "70%", "80%"), ("base", "sds", "sds-admm")
    runs = [outcome(np.add(BASE, i), pattern=ratio, method=m) for i, ratio in enumerate(ratios) for m in methods]
    at = app(PAGE, experiment="")
    shown = drawn(at)
    assert len(shown["rows"]) == 8 and shown["about"].endswith(" · 8 of 18 configurations")
    assert [curve["x"] for curve in figure(at, "curve")["data"]] == [[30, 40, 50, 60, 70, 80]] * 3
    assert set(table(at)["id"]) == {run.id for run in runs}
    assert "configurations" not in drawn(compared(app, *runs[:8]))["about"]


def test_an_exploded_model_is_drawn(outcome, app):
    shown = drawn(compared(app, outcome(BASE), outcome((900.0, 901.0, 900.0, 900.0), method="sds")))
    json.dumps(shown, allow_nan=False)
    assert "Wanda is better than SDS" in shown["answer"]["headline"]


def test_the_equal_command_line_is_there(outcome, app):
    at = compared(app, outcome(BASE), outcome(SDS, method="sds", options={"iterations": 3}))
    at = opened(at, "commands")
    words = at.code[0].value.split()
    assert words[:5] == ["python", "-m", "sds_core", "compare", "--methods"]
    assert set(words[5:7]) == {"base:wanda", "sds:wanda"} and at.code[0].value.endswith("--iterations 3")


def test_more_than_the_picture_offers_is_in_a_list(outcome, app):
    runs = [outcome(BASE, method="sds", options={"iterations": i}) for i in range(1, 15)]
    at = app(PAGE, experiment="")
    assert len(drawn(at)["runs"]) == 12 and len(drawn(at)["rows"]) == 8
    (more,) = [box for box in at.multiselect if box.key == "compare-more"]
    assert len(more.options) == 2 and runs
    added = {runs[-1].id, runs[-2].id}
    at.multiselect(key="compare-more").set_value(list(added)).run()
    assert added < set(drawn(at)["rows"]) and len(drawn(at)["rows"]) == 8


def test_rows_of_several_patterns_name_them_all(outcome, app):
    found = [outcome(np.add(BASE, i), pattern=pattern) for i, pattern in enumerate(("50%", "2:4", "70%"))]
    assert drawn(compared(app, *found))["about"].startswith("50%, 2:4, 70% · ")
