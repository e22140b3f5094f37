"""The Layer lab's curves, checked against numbers worked out by hand."""

import pandas as pd
import pytest

from sds_core.figures import lab


def found() -> pd.DataFrame:
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


def test_curves_start_with_the_first_prune():
    traces = {trace["name"]: trace for trace in lab.rounds(found())["data"]}
    again = traces["pruned again, held-out text"]
    assert again["x"] == [0, 1, 2] and again["y"] == pytest.approx([11, 12, 7])
    assert traces["re-dense, calibration text"]["y"] == pytest.approx([1, 4])
    solved = traces["first prune, weights solved, held-out text"]
    assert solved["x"] == [0, 2] and solved["y"] == pytest.approx([8, 8])
    changed = traces["mask changed"]
    assert changed["y"] == pytest.approx([0, 7, 4]) and changed["yaxis"] == "y2"


def test_held_out_and_calibration_differ_by_more_than_colour():
    styles = [(t["line"]["dash"], t["marker"]["symbol"]) for t in lab.rounds(found())["data"][:4]]
    assert len(set(styles)) == 4


def test_a_mask_that_stays_lies_at_the_bottom():
    still = found().assign(changed=0.0001)
    assert lab.rounds(still)["layout"]["yaxis2"]["range"] == [0, 5.0]
