"""Text is judged by the mean over prompts and seeds; errors against numpy."""

import math

import numpy as np
import pytest

from sds_core.comparison.claims import WIDENED
from sds_core.texts.judgement import judgement, sentences, table
from sds_core.texts.query import compare_readings
from tests.readings import reading, result

GENERATOR = np.random.default_rng(0)
LENGTHS = (5, 9, 3, 7)
DENSE = [GENERATOR.normal(3, 1, n) for n in LENGTHS]


def shifted(shift: float, scatter: float = 0.2) -> list[np.ndarray]:
    return [losses + shift + scatter * GENERATOR.standard_normal(len(losses)) for losses in DENSE]


def test_the_mean_is_over_all_tokens():
    assert reading("a", (1.0, 2.0), (6.0,)).mean == 3.0 and reading("a", ()).mean == 0.0


def test_error_is_that_of_a_ratio_of_totals():
    mine = shifted(0.4)
    found = compare_readings([reading("a", *mine)], [reading("dense", *DENSE)])
    differences = [m - d for m, d in zip(mine, DENSE, strict=True)]
    assert found.log_ratio == pytest.approx(np.concatenate(differences).mean())
    left_out = [np.concatenate(differences[:p] + differences[p + 1 :]).mean() for p in range(4)]
    jackknife = math.sqrt(3 / 4 * np.square(np.subtract(left_out, np.mean(left_out))).sum())
    assert found.error == pytest.approx(jackknife, rel=0.15)


def test_prompts_of_one_length_have_the_plain_standard_error():
    mine, reference = GENERATOR.normal(3, 1, (2, 6, 8))
    found = compare_readings([reading("a", *mine)], [reading("b", *reference)])
    means = (mine - reference).mean(1)
    assert found.error == pytest.approx(means.std(ddof=1) / math.sqrt(6))


def test_one_prompt_has_no_error():
    assert math.isnan(compare_readings([reading("a", (1.0,))], [reading("b", (2.0,))]).error)


def test_with_one_seed_nothing_is_sure():
    (said,) = sentences(result(reading("dense", *DENSE), reading("A", *shifted(0)), reading("B", *shifted(3))))
    assert said.startswith("It is undecided whether A or B is better: ratio ")
    assert "(prompts), error over seeds unknown" in said


def test_a_statement_ends_where_the_name_does_whatever_is_in_it():
    other = reading("b: a plugin", *shifted(3))
    ((said, why),) = judgement(result(reading("dense", *DENSE), reading("a: another", *shifted(0)), other))
    assert said == "It is undecided whether a: another or b: a plugin is better" and why.startswith("ratio ")


def test_seeds_of_one_configuration_are_averaged_with_spread():
    runs = {("A", 0): shifted(0.0), ("A", 1): shifted(0.1), ("B", 0): shifted(2.0), ("B", 1): shifted(2.3)}
    readings = [
        reading(f"{name} · seed {seed}", *losses, configuration=name, seed=seed)
        for (name, seed), losses in runs.items()
    ]
    (said,) = sentences(result(reading("dense", *DENSE), *readings), lambda name: f"**{name}**")
    flat = {key: np.concatenate(losses).mean() for key, losses in runs.items()}
    ratios = [flat["A", seed] - flat["B", seed] for seed in (0, 1)]
    ratio, spread = math.exp(np.mean(ratios)), WIDENED[2] * np.std(ratios, ddof=1)
    assert said.startswith("**A (mean over seeds 0 and 1)** is clearly better than **B (mean over seeds 0 and 1)**")
    assert f"ratio {ratio:.3f} ± " in said and f"± {ratio * spread:.3f} (seeds 0 and 1)" in said


def test_dense_and_redense_models_are_not_ranked():
    redense = reading("SDS · Wanda, re-dense", *shifted(-0.5), pruned=False)
    assert judgement(result(reading("dense", *DENSE), redense, reading("A", *shifted(1)))) == []


def test_table_lists_tokens_means_and_continuations():
    dense = reading("dense", (1.0, 3.0), (2.0,), continuation=("x", "y"))
    mine = reading("Wanda", (1.5, 2.0), (4.0,), continuation=("x", "z"), sampled=("w", "!"))
    dense_too = reading("dense", (1.0, 3.0), (2.0,), continuation=("x", "y"), sampled=("v",))
    text = table(result(dense_too, mine, temperature=0.7, sampling_seed=3))
    lines = [line.split() for line in text.splitlines()]
    assert ["'q'", "1.000", "1.500"] in lines and ["mean", "2.000", "1.750"] in lines
    assert ["mean", "2.000", "2.500"] in lines, "over the tokens of all prompts"
    assert ["mean,", "above", "dense", "+0.500"] in lines and lines[-1] == ["w!"]
    assert "Wanda continues prompt 2, greedily:\nxz" in text
    assert "Wanda continues prompt 1, at temperature 0.7, seed 3:\nw!" in text
    assert "sampled" not in table(result(dense, reading("Wanda", (1.5, 2.0), (4.0,))))


def test_a_single_token_has_a_table_too():
    text = table(result(reading("dense", ()), reading("Wanda", ())))
    assert "'p'" in text and "?" in text


def test_distilled_models_are_judged_among_themselves():
    one_shot = [reading("A", *shifted(2)), reading("B", *shifted(3))]
    distilled = [reading(name, *shifted(shift), distilled=True) for name, shift in (("C", 0), ("D", 1))]
    said = sentences(result(reading("dense", *DENSE), *one_shot, *distilled))
    assert [[name for name in "ABCD" if f" {name} " in sentence] for sentence in said] == [["A", "B"], ["C", "D"]]
    assert judgement(result(reading("dense", *DENSE), one_shot[0], distilled[0])) == []
