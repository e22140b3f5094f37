"""Verdicts held against two standard errors worked out with numpy."""

import math

import numpy as np
import pytest

from sds_core.comparison.claims import (
    WIDENED,
    Verdict,
    apart,
    incomparable,
    judge,
    noise_floor,
    numbers,
    seed_error,
    short,
    words,
)
from sds_core.comparison.study import StudySpread
from sds_core.pruning.perplexity import Comparison, Perplexity, compare

STUDY = StudySpread(0.04, "seeds of the shipped study")
GENERATOR = np.random.default_rng(0)
REFERENCE = GENERATOR.normal(4, 0.3, 16)


def paired(shift: float, scatter: float) -> tuple[Comparison, np.ndarray]:
    """Windows whose losses differ by about `shift`, each by another amount."""
    differences = shift + scatter * GENERATOR.standard_normal(16)
    mine, reference = Perplexity(tuple(REFERENCE + differences), 511), Perplexity(tuple(REFERENCE), 511)
    return compare(mine, reference), differences


@pytest.mark.parametrize("shift", [-0.5, -0.1, -0.03, 0.02, 0.08, 0.6])
@pytest.mark.parametrize("spread", [0.001, 0.03, 0.2])
def test_sure_is_beyond_two_errors_of_both_together(shift, spread):
    comparison, differences = paired(shift, 0.05)
    claim = judge(comparison, spread, "seeds 0, 1 and 2")
    error = np.sqrt(differences.var(ddof=1) / 16 + spread**2)
    assert claim.error == pytest.approx(error, rel=1e-9)
    expected = "undecided"
    if abs(differences.mean()) > 2 * error:
        expected = "clearly better" if differences.mean() < 0 else "clearly worse"
    assert claim.verdict == expected
    ends = np.exp([differences.mean() - 2 * error, differences.mean() + 2 * error])
    assert claim.interval == pytest.approx(ends, rel=1e-9)


def test_seed_error_can_undecide_a_window_based_claim():
    comparison, _ = paired(-0.1, 0.05)
    assert judge(comparison, 0.0, "").verdict is Verdict.BETTER
    assert judge(comparison, 0.06, "").verdict is Verdict.UNDECIDED


def test_nothing_is_sure_where_the_seeds_are_unknown():
    claim = judge(Comparison(-3.0, 0.01), None, "")
    assert claim.verdict is Verdict.UNDECIDED and claim.error == 0.01
    assert "error over seeds unknown" in words(claim, "A", "B") and short(claim) == "0.050 ± 0.000 ± ?"


def test_an_error_over_one_window_leaves_nothing_sure():
    assert judge(Comparison(-3.0, math.nan), 0.01, "").verdict is Verdict.UNDECIDED


def test_four_seeds_speak_for_themselves():
    ratios = {0: -0.80, 1: -0.70, 2: -0.74, 3: -0.71}
    value, source = seed_error(ratios, study=StudySpread(0.5, ""))
    assert value == pytest.approx(np.std(list(ratios.values()), ddof=1)) and source == "seeds 0, 1, 2 and 3"


def test_three_seeds_are_widened_so_that_one_mean_in_twenty_is_wrongly_called_clear():
    shifts = np.random.default_rng(1).normal(0, 0.02, (4000, 3))
    clear = [abs(row.mean()) > 2 * (seed_error(dict(enumerate(row)), study=None)[0] or math.nan) for row in shifts]
    assert 0.04 < np.mean(clear) < 0.06


def test_two_seeds_are_widened_by_students_t():
    value, source = seed_error({3: -0.80, 10: -0.70}, study=None)
    student = math.tan(math.pi * (0.975 - 0.5))  # quantile of t with one degree of freedom
    assert abs(WIDENED[2] - student / (2 * math.sqrt(2))) < 0.01
    assert value == pytest.approx(WIDENED[2] * 0.1 / math.sqrt(2)) and source == "seeds 3 and 10"


def test_two_seeds_never_count_below_the_study():
    assert seed_error({0: -0.80, 1: -0.79}, study=STUDY) == STUDY
    assert seed_error({0: -0.80, 1: -0.70}, study=STUDY)[0] == pytest.approx(0.1 / math.sqrt(2))


def test_one_seed_takes_the_study_where_there_is_one():
    assert seed_error({0: -0.8}, study=STUDY) == STUDY
    assert seed_error({0: -0.8}, study=None) == (None, "")
    assert seed_error({}, study=None) == (None, "")


def test_words_give_both_errors_with_their_sources():
    claim = judge(Comparison(math.log(0.467), 0.015), 0.034, "seeds 0, 1 and 2")
    assert words(claim, "SDS", "Wanda") == (
        "SDS is clearly better than Wanda: ratio 0.467 ± 0.007 (windows) ± 0.016 (seeds 0, 1 and 2), beyond two "
        "standard errors of both together."
    )
    unsure = judge(Comparison(math.log(0.986), 0.007), 0.034, "seeds of the shipped study")
    assert words(unsure, "SDS", "Wanda") == (
        "It is undecided whether SDS or Wanda is better: ratio 0.986 ± 0.007 (windows) ± 0.034 (seeds of the shipped "
        "study), within two standard errors of both together."
    )


def test_one_configuration_run_twice_is_the_noise_floor():
    losses = np.log(81.45) + GENERATOR.normal(0, 0.2, 16)
    other = losses + np.log(83.88 / 81.45) + 0.03 * GENERATOR.standard_normal(16)
    claim = noise_floor(compare(Perplexity(tuple(losses), 511), Perplexity(tuple(other), 511)), "another processor")
    assert abs(claim.log_ratio) > 2 * claim.window_error, "by windows alone it would be sure"
    assert claim.verdict is Verdict.NOISE
    said = words(claim, "Wanda", "Wanda")
    assert "is the noise floor, made by another processor" in said and "sure" not in said


def test_what_is_not_comparable_has_no_number():
    claim = incomparable("nothing in it is pruned")
    assert math.isnan(claim.ratio) and short(claim) == "–"
    assert words(claim, "A", "B") == "A is not compared to B: nothing in it is pruned."


def test_exploded_models_have_finite_numbers():
    claim = judge(Comparison(900.0, 1.0), 0.1, "seeds 0 and 1")
    assert math.isfinite(claim.ratio) and all(map(math.isfinite, claim.interval)) and "e+" in numbers(claim)


def test_one_prompt_is_no_reason_to_call_two_runs_equal():
    claim = judge(Comparison(-1.0, math.nan), 0.001, "seeds 0 and 1")
    assert "with one of the prompts there is no error. Add more" in words(claim, "A", "B", "prompts")


def test_errors_of_different_seeds_add_in_squares():
    assert apart((0.03, "seeds 0, 1 and 2"), (0.04, "seeds 3, 4 and 5")) == (0.05, "seeds 0, 1 and 2; seeds 3, 4 and 5")
    assert apart((0.03, "seeds 0, 1 and 2"), (None, "")) == (None, "")
