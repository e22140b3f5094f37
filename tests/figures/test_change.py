"""Pictures of what changed: every number in them from the arrays they are made of."""

import numpy as np
import pytest

from sds_core.figures.change import MASKS, before_and_after, masks
from sds_core.pruning.bins import JOINT, SPAN
from sds_core.pruning.pattern import NM, Unstructured

GENERATOR = np.random.default_rng(0)


def test_cells_lie_where_the_weights_went():
    joint = np.zeros((JOINT, JOINT), dtype=int)
    joint[10, 50], joint[32, 32] = 100, 3  # [before, after]
    picture = before_and_after(joint.flatten().tolist(), "final")
    cells = picture["data"][0]
    middles = np.linspace(-SPAN, SPAN, JOINT + 1)[:-1] + SPAN / JOINT
    np.testing.assert_allclose(cells["x"], middles)
    shade = np.array(cells["z"], dtype=float)
    assert shade[50, 10] == 2 and cells["customdata"][50][10] == 100  # upwards is after
    assert (
        shade[32, 32] == pytest.approx(np.log10(3))
        and np.isnan(np.delete(shade.flatten(), [50 * 64 + 10, 32 * 65])).all()
    )
    assert picture["layout"]["yaxis"]["title"]["text"] == "final weight"


def test_an_empty_joint_histogram_is_drawn_empty():
    cells = before_and_after([0] * JOINT**2, "redense")["data"][0]
    assert all(value is None for row in cells["z"] for value in row)


@pytest.mark.parametrize(("columns", "wide"), [(8, 8), (576, JOINT)])
@pytest.mark.parametrize(("pattern", "edges"), [(NM(2, 4), "every four"), (Unstructured("0.5"), "none")])
def test_masks_keep_their_codes_and_lines(columns, wide, pattern, edges):
    codes = GENERATOR.integers(0, 4, (5, wide))
    picture = masks(codes.flatten().tolist(), columns, pattern)
    cells, legend = picture["data"][0], [trace["name"] for trace in picture["data"][1:]]
    named = [[MASKS[code][0] for code in row] for row in codes]
    assert cells["text"] == named and [[legend[place] for place in row] for row in cells["z"]] == named
    colours = dict(zip(legend, (trace["marker"]["color"] for trace in picture["data"][1:]), strict=True))
    assert all(colours[name] == colour for name, colour in MASKS.values())
    lines = [shape["x0"] for shape in picture["layout"]["shapes"]]
    assert lines == ([x - 0.5 for x in range(4, wide, 4)] if edges == "every four" else [])
