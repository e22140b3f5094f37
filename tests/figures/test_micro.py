"""The 8×8 grids, checked against numbers worked out by hand."""

import json

import pytest
import torch

from sds_core.figures import micro, style

VALUES = torch.tensor([[0.5, -1.0, 0.004, 2.0, 0.25], [0.0, 1.5, -0.125, 3.0, -4.0]])


def test_a_grid_has_a_number_in_every_cell():
    figure = micro.grid(VALUES, "Weights")
    colour, text = figure["data"]
    assert text["text"] == ["0.50", "−1.00", "0", "2.00", "0.25", "0", "1.50", "−0.12", "3.00", "−4.00"]
    assert text["y"] == [0] * 5 + [1] * 5
    assert text["x"] == [0, 1, 2, 3, 4.25] * 2
    assert colour["x"] == [-0.5, 0.5, 1.5, 2.5, 3.5, 3.75, 4.75]  # edges, the gap being a cell without a value
    assert [row[4] for row in colour["z"]] == [None, None]
    assert (colour["zmin"], colour["zmax"]) == (-4, 4)
    assert figure["layout"]["xaxis"]["ticktext"] == ["1", "2", "3", "4", "5"]
    json.dumps(figure)


def test_pruned_cells_have_a_number_but_no_colour():
    faded = VALUES.abs() < 1
    colour, text = micro.grid(VALUES, "Weights", faded=faded, signed=False)["data"]
    assert [[z is None for z in row[:4] + row[5:]] for row in colour["z"]] == faded.tolist()
    inks = [style.QUIET if pale else micro.INK for pale in faded.flatten().tolist()]
    assert text["textfont"]["color"] == inks
    assert (colour["zmin"], colour["zmax"]) == (0, 4)


def test_frames_stand_around_the_cells_that_changed():
    lost, returned = torch.zeros(2, 5, dtype=torch.bool), torch.zeros(2, 5, dtype=torch.bool)
    lost[0, 1] = returned[1, 4] = True
    shapes = micro.grid(VALUES, "", lost=lost, returned=returned, row=1)["layout"]["shapes"]
    middles = [((s["x0"] + s["x1"]) / 2, (s["y0"] + s["y1"]) / 2, s["line"]["color"]) for s in shapes[:2]]
    assert middles == [
        (pytest.approx(1), pytest.approx(0), style.LOST),
        (pytest.approx(4.25), pytest.approx(1), style.RETURNED),
    ]
    assert [(s["x0"], s["x1"], s["y0"], s["y1"]) for s in shapes[2:]] == [(-0.5, 4.75, 0.5, 1.5)] * 2


def test_a_grid_of_zeros_is_drawn():
    assert micro.grid(torch.zeros(1, 4), "")["data"][0]["zmax"] == 1
