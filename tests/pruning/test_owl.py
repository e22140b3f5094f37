from fractions import Fraction

import pytest
import torch

from sds_core.pruning.owl import outlier_share, owl_ratios
from tests.pruning.references import random_weight


def test_outliers_are_relative_to_the_blocks_mean():
    scores = [random_weight(6, 10, 0).abs(), 3 * random_weight(4, 5, 1).abs()]
    scores[1][0, 0] = 60.0
    together = torch.cat([score.flatten() for score in scores])
    expected = sum(float(score) > 5 * float(together.mean()) for score in together) / len(together)
    assert outlier_share(scores) == expected > 0


def test_more_outliers_mean_a_lower_ratio_within_reach():
    ratios = owl_ratios([0.01, 0.05, 0.02, 0.03], [100] * 4, Fraction("0.7"))
    assert ratios[1] < ratios[3] < ratios[2] < ratios[0]
    assert float(max(ratios) - min(ratios)) == pytest.approx(0.16, abs=1e-5)
    shares = torch.tensor([0.0, 1.0, 0.25, 0.5])
    expected = 0.7 - 0.16 * (shares - shares.mean())
    torch.testing.assert_close(torch.tensor([float(r) for r in ratios]), expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("ratio", ["0.5", "0.7", "0.3333", "0.02", "0.99"])
def test_the_mean_over_all_weights_is_exact(ratio):
    counts = [300, 100, 77, 1000]
    ratios = owl_ratios([0.0, 0.4, 0.1, 0.02], counts, Fraction(ratio))
    assert sum(r * n for r, n in zip(ratios, counts, strict=True)) == Fraction(ratio) * sum(counts)
    assert all(0 <= r < 1 for r in ratios)


def test_equal_shares_leave_the_ratio_alone():
    assert owl_ratios([0.1, 0.1], [5, 9], Fraction("0.6")) == [Fraction("0.6")] * 2
