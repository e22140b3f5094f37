"""The Walk's figures fit a projector and show what the runs hold."""

import numpy as np
import pytest

from sds_core.figures import layer as layer_figures
from sds_core.lesson.pictures import CORNER, TALLEST, corner, from_its_end, near_zero_marked
from sds_core.lesson.questions import STEPS


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.title)
def test_a_picture_is_seen_together_with_its_answer(evidence, step):
    assert step.find(evidence).figure["layout"]["height"] <= TALLEST


@pytest.mark.parametrize(("rows", "columns"), [(64, 96), (64, 48), (20, 24)])
def test_the_corner_is_the_upper_left(rows, columns):
    stored = np.arange(rows * min(columns, 64)).reshape(rows, -1)
    codes, wide = corner(stored.flatten().tolist(), columns)
    assert np.array_equal(np.reshape(codes, (-1, wide)), stored[:CORNER, :CORNER])


def test_the_player_starts_at_its_end(evidence):
    plain = layer_figures.player(evidence.layer("sds-admm-wanda"))
    ended = from_its_end(plain)
    last = plain["frames"][-1]["data"]
    assert [trace["y"] for trace in ended["data"][: len(last)]] == [trace["y"] for trace in last]
    assert plain["data"][0]["y"] != last[0]["y"], "with equal rounds nothing would be tested"
    assert ended["data"][len(last) :] == plain["data"][len(last) :] and ended["frames"] == plain["frames"]
    assert ended["layout"]["sliders"][0]["active"] == len(plain["frames"]) - 1


def test_the_marked_band_is_a_tenth_of_a_deviation(evidence):
    (band,) = near_zero_marked(layer_figures.ridges(evidence.layer("base-wanda")))["layout"]["shapes"]
    assert (band["x0"], band["x1"]) == (-0.1, 0.1)
