"""Perplexity is exp of the token-weighted mean loss; two models are compared window by window."""

import math

import numpy as np
import pytest

from sds_core.pruning.perplexity import (
    Comparison,
    Perplexity,
    compare,
    format_perplexity,
    format_ratio,
    mean_over_runs,
)


def test_a_hopeless_loss_is_an_infinite_perplexity() -> None:
    assert Perplexity((800.0, 900.0), 10).value == math.inf
    assert Perplexity((699.0,), 10).value == pytest.approx(math.exp(699.0))


def test_the_comparison_is_paired() -> None:
    generator = np.random.default_rng(0)
    reference = generator.normal(3, 1, 16)
    model = reference + generator.normal(0.1, 0.02, 16)
    result = compare(Perplexity(tuple(model), 511), Perplexity(tuple(reference), 511))
    differences = model - reference
    assert result.log_ratio == pytest.approx(differences.mean(), rel=1e-12)
    assert result.error == pytest.approx(differences.std(ddof=1) / np.sqrt(16), rel=1e-9)
    assert result.error < 0.02 < reference.std(ddof=1) / np.sqrt(16)  # unpaired, nothing would be seen
    assert result.ratio == pytest.approx(np.exp(model.mean()) / np.exp(reference.mean()), rel=1e-12)
    assert result.ratio > 1  # the model is worse than the reference


def test_one_window_has_no_standard_error() -> None:
    result = compare(Perplexity((2.0,), 9), Perplexity((3.0,), 9))
    assert math.isnan(result.error) and result.ratio == pytest.approx(math.exp(-1))


def test_different_windows_cannot_be_compared() -> None:
    with pytest.raises(AssertionError):
        compare(Perplexity((1.0, 2.0), 9), Perplexity((1.0,), 9))
    with pytest.raises(AssertionError):
        compare(Perplexity((1.0,), 9), Perplexity((1.0,), 10))


def test_equal_models_have_ratio_one() -> None:
    same = Perplexity((1.5, 2.5), 9)
    assert compare(same, same) == Comparison(0.0, 0.0) and compare(same, same).ratio == 1


def test_mean_over_runs_is_the_geometric_mean_of_perplexities() -> None:
    runs = [Perplexity((1.0, 2.0), 9), Perplexity((2.0, 5.0), 9)]
    assert mean_over_runs(runs).value == pytest.approx(math.sqrt(runs[0].value * runs[1].value))


def test_numbers_are_written_with_the_same_digits_everywhere() -> None:
    assert [format_perplexity(v) for v in (83.876, 3486.731, 2e6)] == ["83.88", "3,486.73", "2.00e+06"]
    assert format_ratio(math.log(0.467), 0.015, 0.034) == "0.467 ± 0.007 ± 0.016"
    assert format_ratio(math.log(9.364)) == "9.364" and format_ratio(0.0, 0.01, None) == "1.000 ± 0.010 ± ?"
    assert format_ratio(900.0, 0.1) == "3.8e+260 ± 3.8e+259"
