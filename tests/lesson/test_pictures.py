"""The numbers of the Walk's pictures."""

import numpy as np
import pytest

from sds_core.lesson.curves import HIGH, LOW
from sds_core.lesson.pictures import ROWS, Bar, Bars, corner, distribution, round_end, sketches


@pytest.mark.parametrize(("rows", "columns"), [(64, 96), (64, 48), (20, 24)])
def test_the_corner_is_the_upper_left(rows, columns):
    stored = np.arange(rows * min(columns, 64)).reshape(rows, -1)
    found = corner("a layer", stored.flatten().tolist(), columns)
    assert (found.rows, found.columns) == stored[:ROWS].shape
    assert np.array_equal(np.reshape(found.codes, (found.rows, found.columns)), stored[:ROWS])


@pytest.mark.parametrize(("value", "end"), [(114, 120), (120, 120), (15.1, 16), (1050, 1200)])
def test_an_axis_ends_at_a_round_number(value, end):
    assert round_end(value) == pytest.approx(end)


def test_the_axis_leaves_room_for_the_numbers():
    bars = Bars((Bar("dense", "dense", "", 10.0),), (Bar("wanda", "Wanda", "", 80.0),))
    assert bars.top == pytest.approx(120)


def test_sketches_lose_half_of_the_weights():
    x = np.linspace(LOW, HIGH, 133)
    bell = np.exp(-x * x / 2)
    half, gap, humps = (np.array(one) for one in sketches(bell.tolist()))
    assert half == pytest.approx(bell / 2)
    assert gap.sum() == pytest.approx(bell.sum() / 2, rel=0.1) and set(gap[gap > 0] == bell[gap > 0]) == {True}
    assert humps[66] == 0 and humps.sum() == pytest.approx(bell.sum() / 2, rel=0.1)


def test_a_distribution_is_that_of_the_record(evidence):
    dense, sparse = (evidence.stage("base-wanda", stage) for stage in ("dense", "sparse"))
    found = distribution("a layer", dense, sparse)
    assert found.zeros == pytest.approx(sparse["sparsity"], abs=1e-3)
    assert max(found.after) < max(found.dense) and distribution("a layer", dense).after is None
