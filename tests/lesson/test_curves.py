"""Curves of the lesson's pictures: densities, smoothed."""

import numpy as np
import pytest

from sds_core.lesson.curves import HIGH, LOW, curve
from sds_core.pruning.bins import BIN, BINS


def test_a_flat_histogram_is_a_flat_density():
    found = curve([3] * BINS, 3 * BINS)
    assert found == pytest.approx([1 / 12] * len(found)), "12 standard deviations across"
    assert np.linspace(LOW, HIGH, len(found))[1] - LOW == pytest.approx(BIN)


def test_zeros_are_missing_from_the_area():
    counts = np.zeros(BINS, int)
    counts[BINS // 2 - 10 : BINS // 2 + 11] = 5
    assert sum(curve(counts.tolist(), 210)) * BIN == pytest.approx(0.5)


def test_one_weight_is_spread_over_three_bins():
    counts = [0] * BINS
    counts[BINS // 2] = 4
    found = np.array(curve(counts, 4)) * BIN
    assert found[found > 0] == pytest.approx([0.25, 0.5, 0.25]) and found.argmax() == len(found) // 2
