"""The pictures of Micro and the Layer lab as plain dicts, held against numbers worked out by hand."""

import json

import pandas as pd
import pytest
import torch

from sds_core.figures import lab, micro

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
    colour, text = micro.grid(VALUES, "Weights", faded=faded, signed=False, top=8.0)["data"]
    assert [[z is None for z in row[:4] + row[5:]] for row in colour["z"]] == faded.tolist()
    inks = [micro.FADED if pale else micro.INK for pale in faded.flatten().tolist()]
    assert text["textfont"]["color"] == inks
    assert (colour["zmin"], colour["zmax"]) == (0, 8)


def test_frames_stand_around_the_cells_that_changed():
    lost, returned = torch.zeros(2, 5, dtype=torch.bool), torch.zeros(2, 5, dtype=torch.bool)
    lost[0, 1] = returned[1, 4] = True
    shapes = micro.grid(VALUES, "", lost=lost, returned=returned, row=1)["layout"]["shapes"]
    middles = [((s["x0"] + s["x1"]) / 2, (s["y0"] + s["y1"]) / 2, s["line"]["color"]) for s in shapes[:2]]
    assert middles == [
        (pytest.approx(1), pytest.approx(0), micro.LOST),
        (pytest.approx(4.25), pytest.approx(1), micro.RETURNED),
    ]
    assert [(s["x0"], s["x1"], s["y0"], s["y1"]) for s in shapes[2:]] == [(-0.5, 4.75, 0.5, 1.5)] * 2


def test_a_grid_of_zeros_is_drawn():
    assert micro.grid(torch.zeros(1, 4), "")["data"][0]["zmax"] == 1


def walk() -> pd.DataFrame:
    rows = [
        ("dense", 0, 0.0, 0.0, 0.0),
        ("sparse", 0, 0.10, 0.11, 0.0),
        ("adjusted", 0, 0.06, 0.08, 0.0),
        ("redense", 1, 0.01, 0.02, float("nan")),
        ("pruned", 1, 0.09, 0.12, 0.07),
        ("redense", 2, 0.04, 0.06, float("nan")),
        ("pruned", 2, 0.05, 0.07, 0.04),
        ("final", 0, 0.05, 0.07, 0.04),
    ]
    return pd.DataFrame(rows, columns=["stage", "round", "seen", "held_out", "changed"])


def test_curves_start_with_the_first_prune_and_are_in_per_cent():
    traces = {trace["name"]: trace for trace in lab.rounds(walk())["data"]}
    again = traces["pruned again, held-out text"]
    assert again["x"] == [0, 1, 2] and again["y"] == pytest.approx([11, 12, 7])
    assert traces["re-dense, calibration text"]["y"] == pytest.approx([1, 4])
    solved = traces["first prune, weights solved, held-out text"]
    assert solved["x"] == [0, 2] and solved["y"] == pytest.approx([8, 8])
    changed = traces["mask changed"]
    assert changed["y"] == pytest.approx([0, 7, 4]) and changed["yaxis"] == "y2"


def test_held_out_and_calibration_differ_by_more_than_colour():
    styles = [(t["line"]["dash"], t["marker"]["symbol"]) for t in lab.rounds(walk())["data"][:4]]
    assert len(set(styles)) == 4


def test_a_mask_that_stays_is_drawn_at_the_bottom_and_not_blown_up():
    still = walk().assign(changed=0.0001)
    assert lab.rounds(still)["layout"]["yaxis2"]["range"] == [0, 5.0]
