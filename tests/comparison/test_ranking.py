"""Rankings are of configurations, by pattern; the same configuration twice is no winner."""

import numpy as np
import pytest

from sds_core.comparison.claims import Verdict
from sds_core.comparison.outcomes import finished_outcomes, outcome_of
from sds_core.comparison.ranking import answer, rank
from tests.by_hand import EPYC, made

BEST, NEAR, FAR = (2.6, 3.2, 3.5), (2.65, 3.1, 3.65), (3.0, 3.6, 4.1)


def ranked(*runs):
    return rank([outcome_of(run) for run in runs], finished_outcomes())


def test_best_is_compared_with_each_configuration_of_its_pattern():
    far, best, near = made(FAR), made(BEST, method="sds"), made(NEAR, method="adjusted")
    (found,) = ranked(far, best, near, made(FAR, pattern="50%"))
    assert found.pattern == "2:4"
    assert [group.outcomes[0].run for group in found.groups] == [best.id, near.id, far.id]
    assert [claim.verdict for claim in found.claims] == [Verdict.UNDECIDED, Verdict.BETTER]
    first, second = answer(found)
    assert first.startswith("At 2:4: It is undecided whether SDS · Wanda or base + adjustment · Wanda is better")
    ratio, windows = np.exp(np.mean(np.subtract(BEST, FAR))), np.std(np.subtract(BEST, FAR), ddof=1) / np.sqrt(3)
    assert second == (
        f"Against Wanda ({ratio:.3f} ± {ratio * windows:.3f} ± {ratio * 0.034:.3f}) it is clearly better."
    )


def test_a_sure_winner_is_named_with_both_errors():
    (found,) = ranked(made(FAR), made(BEST, method="sds"))
    differences = np.subtract(BEST, FAR)
    ratio = np.exp(differences.mean())
    windows = ratio * differences.std(ddof=1) / np.sqrt(3)
    assert answer(found, lambda name: f"**{name}**") == [
        f"At 2:4: **SDS · Wanda** is clearly better than **Wanda**: ratio {ratio:.3f} ± {windows:.3f} (windows) ± "
        f"{ratio * 0.034:.3f} (seeds of the shipped study), beyond two standard errors of both together. Perplexity "
        f"{np.exp(np.mean(BEST)):.2f} against {np.exp(np.mean(FAR)):.2f}."
    ]


def test_equal_ratios_are_one_pattern_however_they_are_written():
    (found,) = ranked(made(FAR, pattern="0.5"), made(BEST, pattern="50%", method="sds"))
    assert found.pattern == "50%"


def test_the_same_configuration_twice_has_no_winner():
    (found,) = ranked(made(FAR), made(BEST, machine=EPYC))
    assert len(found.groups) == 1 and found.claims == []
    (said,) = answer(found)
    assert "noise floor" in said and "another processor" in said and "better" not in said


def test_the_same_windows_under_another_name_join_the_seeds_of_their_configuration():
    losses = {0: (3.0, 3.6, 4.1), 1: (3.3, 3.9, 4.5)}
    runs = [made(own, seed=seed) for seed, own in losses.items()] + [made(losses[0], bos="none")]
    (ranking,) = rank([outcome_of(run) for run in runs], finished_outcomes())
    assert [group.seeds for group in ranking.groups] == [[0, 1]] and not ranking.claims
    assert "same configuration and measured exactly the same" in answer(ranking)[0]


def test_seeds_are_averaged_and_not_ranked_against_each_other():
    bases = [made(np.add(FAR, shift), seed=seed) for seed, shift in enumerate((0.0, 0.2, 0.1))]
    mine = [made(np.add(BEST, shift), method="sds", seed=seed) for seed, shift in enumerate((0.1, 0.0))]
    (found,) = ranked(*bases, *mine)
    assert [group.seeds for group in found.groups] == [[0, 1], [0, 1, 2]]
    shared = np.mean(BEST) + 0.05 - np.mean(FAR) - 0.1
    assert found.claims[0].log_ratio == pytest.approx(shared)
    assert found.groups[1].perplexity == pytest.approx(np.exp(np.mean(FAR) + 0.1))
    assert "Wanda (mean over seeds 0, 1 and 2)" in answer(found)[0]
    (alone,) = ranked(*bases)
    assert answer(alone) == [
        "Wanda (mean over seeds 0, 1 and 2) is one configuration: its seeds are not ranked against each other."
    ]


def test_the_best_over_all_seeds_may_be_worse_on_the_shared_one():
    best = [made(np.add(FAR, shift), method="sds", seed=seed) for seed, shift in enumerate((-0.2, -0.8, -0.8))]
    first, second = answer(ranked(*best, made(NEAR), made(np.add(NEAR, 0.02), method="adjusted"))[0])
    assert "SDS · Wanda (mean over seeds 0, 1 and 2) is clearly worse than Wanda (seed 0)" in first
    assert "base + adjustment · Wanda (seed 0) (" in second and second.endswith("it is clearly worse.")


def test_a_repeated_run_stays_beside_the_ranking():
    (found,) = ranked(made(FAR), made(np.add(FAR, 0.03), machine=EPYC), made(BEST, method="sds"))
    assert len(found.groups) == 2 and len(found.repetitions) == 1
    assert "clearly better" in answer(found)[0] and "noise floor" in answer(found)[1]


def test_different_seeds_of_two_methods_are_reported():
    (found,) = ranked(made(FAR), made(BEST, method="sds", seed=1))
    assert "SDS · Wanda (seed 1) is clearly better than Wanda (seed 0)" in answer(found)[0]
