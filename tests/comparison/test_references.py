"""Bases and controls are chosen by configuration, and claims against them hold both errors."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from sds_core.comparison.claims import WIDENED, Verdict, words
from sds_core.comparison.outcomes import finished_outcomes, outcome_of
from sds_core.comparison.references import claim, claims_about, find_reference
from sds_core.comparison.study import SPREAD
from sds_core.runs.config import Parent
from sds_core.runs.planned import repeat
from sds_core.runs.run_folder import preceding
from tests.by_hand import EPYC, XEON, made

BASE, SDS = (3.0, 3.6, 4.1), (2.6, 3.2, 3.5)
OTHER = {"model": "other"}
"""A model that the shipped study does not know."""


def between(mine, reference):
    """The claim about two runs, by what all runs of the folder say."""
    return claim([outcome_of(mine)], [outcome_of(reference)], finished_outcomes())


def reference(run, role="base"):
    found = find_reference(outcome_of(run), role, finished_outcomes())
    return found and (found.run, found.stage)


def test_one_seed_takes_the_spread_of_the_shipped_study():
    base, sds = made(BASE), made(SDS, method="sds")
    found = between(sds, base)
    differences = np.subtract(SDS, BASE)
    assert found.log_ratio == pytest.approx(differences.mean())
    assert found.window_error == pytest.approx(differences.std(ddof=1) / np.sqrt(3))
    assert found.seed_error == SPREAD["sds:wanda", "base:wanda"] and found.seed_source == "seeds of the shipped study"
    assert found.verdict is Verdict.BETTER


def test_one_seed_outside_the_study_stays_undecided():
    found = between(made(SDS, method="sds", **OTHER), made(np.add(BASE, 3), **OTHER))
    assert found.seed_error is None and found.verdict is Verdict.UNDECIDED


def test_two_seeds_are_found_in_the_folder():
    shifts = {0: (0.0, 0.0), 1: (0.3, -0.1)}
    bases = [made(np.add(BASE, base), seed=seed, **OTHER) for seed, (base, _) in shifts.items()]
    mine = [made(np.add(SDS, own), method="sds", seed=seed, **OTHER) for seed, (_, own) in shifts.items()]
    ratios = [np.mean(np.add(SDS, own)) - np.mean(np.add(BASE, base)) for base, own in shifts.values()]
    for one, base, log_ratio in zip(mine, bases, ratios, strict=True):
        found = between(one, base)
        assert found.log_ratio == pytest.approx(log_ratio)
        assert found.seed_error == pytest.approx(WIDENED[2] * np.std(ratios, ddof=1))
        assert found.seed_source == "seeds 0 and 1"


def test_three_seeds_decide_what_windows_alone_would_call_sure():
    near = np.subtract(BASE, (0.10, 0.11, 0.12))
    for seed, shift in enumerate((0.0, 0.15, -0.12)):
        made(BASE, seed=seed, **OTHER)
        made(np.add(near, shift), method="sds", seed=seed, **OTHER)
    runs = {(o.made.method, o.made.seed): o for o in finished_outcomes()}
    found = claim([runs["sds", 0]], [runs["base", 0]], finished_outcomes())
    assert abs(found.log_ratio) > 2 * found.window_error
    student = 4.303 / (2 * math.sqrt(3))
    assert found.seed_error == pytest.approx(student * np.std((0.0, 0.15, -0.12), ddof=1), rel=0.002)
    assert found.verdict is Verdict.UNDECIDED


def test_seeds_that_differ_do_not_cancel():
    control = {"method": "adjusted", "options": {"beta": 0.2, "sequential": True}}
    near = np.subtract(SDS, 0.03)
    found = between(made(near, method="sds-admm"), made(SDS, seed=1, **control))
    assert found.seed_error == pytest.approx(math.hypot(SPREAD["sds-admm:wanda", "dense"], max(SPREAD.values())))
    assert found.verdict is Verdict.UNDECIDED
    assert between(made(near, method="sds-admm", seed=1), made(SDS, seed=1, **control)).verdict is Verdict.BETTER


def test_seeds_that_differ_are_judged_by_what_each_side_did():
    mine = [made(np.add(SDS, shift), method="sds", seed=seed, **OTHER) for seed, shift in enumerate((0, 0.1, 0.3))]
    bases = [made(np.add(BASE, shift), seed=3 + seed, **OTHER) for seed, shift in enumerate((0, 0.2, 0.1))]
    found = between(mine[0], bases[0])
    deviations = [np.std(shifts, ddof=1) for shifts in ((0, 0.1, 0.3), (0, 0.2, 0.1))]
    assert found.seed_error == pytest.approx(4.303 / (2 * math.sqrt(3)) * math.hypot(*deviations), rel=0.002)
    assert found.seed_source == "seeds 0, 1 and 2; seeds 3, 4 and 5"


def test_a_mean_over_seeds_is_paired_window_by_window():
    bases = [outcome_of(made(np.add(BASE, s / 10), seed=s)) for s in range(3)]
    mine = [outcome_of(made(np.add(SDS, (s / 20, 0, s / 7)), method="sds", seed=s)) for s in range(3)]
    found = claim(mine, bases, finished_outcomes())
    windows = np.mean([np.subtract(m.measured.losses, b.measured.losses) for m, b in zip(mine, bases, strict=True)], 0)
    assert found.log_ratio == pytest.approx(windows.mean())
    assert found.window_error == pytest.approx(windows.std(ddof=1) / math.sqrt(3))


def test_one_command_on_two_processors_is_the_noise_floor():
    losses = np.log(83.88) + np.array([0.31, -0.22, 0.14, -0.23])
    other = losses + np.log(81.45 / 83.88) + np.array([0.012, -0.011, 0.008, -0.009])
    runs = [made(losses, dense=(2,) * 4, machine=XEON), made(other, dense=(2,) * 4, machine=EPYC)]
    found = between(runs[1], runs[0])
    assert found.log_ratio == pytest.approx(math.log(81.45 / 83.88))
    assert abs(found.log_ratio) > 2 * found.window_error, "by windows alone it would be sure"
    assert found.verdict is Verdict.NOISE
    assert found.reason == "another processor (x86_64, AMD EPYC; x86_64, Intel(R) Xeon(R))"


def test_identical_runs_on_one_machine_are_the_noise_floor():
    assert "measured exactly the same" in words(between(made(BASE), made(BASE)), "A", "B")
    found = between(made(BASE), made(np.add(BASE, 0.01)))
    assert found.verdict is Verdict.NOISE and found.reason == "nothing that their records show"


def test_other_seed_of_one_configuration_is_the_noise_floor():
    assert "another calibration seed (1; 0)" in between(made(SDS, seed=1), made(BASE)).reason
    other = made(SDS, calibration_sha256="of other words")
    assert "another calibration text under the same name" in between(other, made(BASE)).reason


def test_phase_1_of_a_method_repeats_its_base_pruner():
    phase1 = made(SDS, method="sds", schedule="staged", phase=1)
    assert between(phase1, made(BASE)).verdict is Verdict.NOISE
    assert set(claims_about(phase1)) == {"dense"}


def test_other_patterns_models_and_texts_are_not_compared():
    base = made(BASE)
    for other, reason in (
        (made(BASE, pattern="50%"), "they prune differently: 50% and 2:4"),
        (made(BASE, dense=(4, 4, 4)), "it is another model"),
        (made(BASE, evaluation="python-docs.txt"), "it was measured on another evaluation text"),
        (made(BASE, method="sds", schedule="staged", phase=2, parent=Parent("x", 1, "0")), "a re-dense model"),
    ):
        found = between(other, base)
        assert found.verdict is Verdict.INCOMPARABLE and found.reason.startswith(reason)


def test_a_base_has_the_same_pruner_pattern_and_calibration():
    run = made(SDS, method="sds")
    for changes in ({"pruner": "magnitude"}, {"pattern": "50%"}, {"samples": 3}, {"exclude": "*.0.*"}):
        made(BASE, **changes)
    assert reference(run) is None
    base = made(BASE, threads=1)
    assert reference(run) == (base.id, "sparse") and reference(base) is None


def test_a_control_has_the_same_aim():
    mine = made(SDS, method="sds-admm", options={"beta": 0.3})
    alike = {"beta": 0.3, "sequential": True}
    for changes in ({}, {"options": {"beta": 0.3}}, {"options": alike, "reconstruct": "block"}):
        made(BASE, method="adjusted", **changes)
    assert reference(mine, "control") is None
    control = made(BASE, method="adjusted", options={"beta": 0.3, "sequential": True})
    assert reference(mine, "control") == (control.id, "final") and reference(control, "control") is None


def test_reference_prefers_the_same_seed_then_the_oldest():
    other, first, _ = made(BASE, seed=5), made(BASE, seed=1), made(BASE, seed=1)
    assert reference(made(SDS, method="sds", seed=1)) == (first.id, "sparse")
    assert reference(made(SDS, method="sds", seed=7)) == (other.id, "sparse")


def test_reference_prefers_the_same_seed_to_the_same_schedule():
    made(BASE, method="adjusted", seed=1, schedule="staged")
    fused = made(BASE, method="adjusted", seed=0)
    assert reference(made(SDS, method="sds", schedule="staged"), "control") == (fused.id, "final")


def test_staged_run_is_compared_to_its_own_phase_1():
    made(BASE)
    mine = made(SDS, method="sds", schedule="staged", stages={"sparse": np.add(BASE, 0.1)})
    assert reference(mine) == (mine.id, "sparse")
    against = claims_about(mine)["base"]
    assert against.name == "Wanda · phase 1 of the same run"
    assert against.claim.log_ratio == pytest.approx(np.mean(SDS) - np.mean(BASE) - 0.1)


def test_phased_run_is_compared_with_its_own_phase_1():
    made(BASE)
    staged = {"method": "sds", "schedule": "staged"}
    first = made(BASE, phase=1, **staged)
    second = made(BASE, phase=2, parent=Parent(first.id, 1, "0"), **staged)
    third = made(SDS, phase=3, parent=Parent(second.id, 2, "0"), **staged)
    assert reference(third) == (first.id, "sparse")


def test_a_run_that_kept_no_weights_is_repeated_with_those_that_its_phases_need():
    made(BASE)
    third = made(SDS, method="sds", schedule="staged", phase=3, parent=Parent("gone", 2, "0"), keep_weights=False)
    lines = repeat(third.config)
    assert [("--phase" in line, "--no-keep-weights" in line) for line in lines] == [
        (True, False),
        (True, False),
        (True, True),
    ]


def continued(run, origin, phase, finished):
    """Make a run one that continues from a phase of another, or of itself."""
    config = replace(run.config, phase=phase, parent=Parent(origin.id, finished, "0"))
    (run.folder / "config.json").write_text(json.dumps(config.to_dict()))


def test_records_that_go_round_in_a_circle_come_to_an_end():
    staged = {"method": "sds", "schedule": "staged"}
    alone, one, other = made(SDS, reconstruct="model", **staged), made(SDS, **staged), made(SDS, **staged)
    continued(alone, alone, 4, 3)
    continued(one, other, 3, 2)
    continued(other, one, 3, 2)
    for run in (alone, one, other):
        assert preceding(run.config) is None and "dense" in claims_about(run)
        assert repeat(run.config)[-1].startswith("python -m sds_core run ")


def test_a_run_that_only_inherited_a_phase_is_passed_over():
    staged = {"method": "sds", "schedule": "staged"}
    first = made(BASE, phase=1, **staged)
    second = made(BASE, phase=2, parent=Parent(first.id, 1, "0"), **staged)
    third = made(SDS, phase=3, parent=Parent(second.id, 2, "0"), **staged)
    again = made(SDS, phase=3, parent=Parent(third.id, 2, "0"), **staged)
    assert preceding(again.config) == second and preceding(second.config) == first
    assert preceding(first.config) is None and reference(again) == (first.id, "sparse")


def test_references_are_named_with_their_run():
    base = made(BASE)
    against = claims_about(made(SDS, method="sds"))
    assert against["base"].name == f"Wanda · {base.id[-6:]}" and against["base"].run == base.id
    assert (against["dense"].name, against["dense"].run) == ("the dense model", "")
