"""Maps of errors, checked against numbers worked out by hand."""

import json

import pandas as pd
import pytest

from sds_core.figures.error_map import error_map


def losses(values: dict[tuple[int, str], float]) -> pd.DataFrame:
    return pd.DataFrame([{"block": block, "linear": linear, "loss": loss} for (block, linear), loss in values.items()])


def test_a_map_has_blocks_downwards_and_linears_across():
    figure = error_map(losses({(0, "attn.q"): 0.1, (0, "mlp.up"): 0.2, (1, "attn.q"): 0.05, (1, "mlp.up"): 0.4}))
    trace = figure["data"][0]
    assert trace["z"] == [[pytest.approx(10), pytest.approx(20)], [pytest.approx(5), pytest.approx(40)]]
    assert trace["x"] == ["q", "up"] and trace["y"] == ["0", "1"]
    assert figure["layout"]["yaxis"]["range"] == [1.5, -0.5], "from the top"


def test_an_unfinished_layer_is_empty():
    trace = error_map(losses({(0, "q"): 0.1, (0, "up"): 0.2, (1, "q"): 0.3}))["data"][0]
    assert trace["z"][1] == [pytest.approx(30), None]


def test_labels_stay_whole_where_their_last_words_coincide():
    assert error_map(losses({(0, "self.q"): 0.1, (0, "cross.q"): 0.2}))["data"][0]["x"] == [
        "self.q",
        "cross.q",
    ]


def test_the_scale_begins_at_zero_or_below():
    assert error_map(losses({(0, "q"): 0.1, (1, "q"): 0.2}))["data"][0]["zmin"] == 0
    assert error_map(losses({(0, "q"): -0.1, (1, "q"): 0.2}))["data"][0]["zmin"] == pytest.approx(-10)


def test_a_single_layer_is_drawn():
    assert error_map(losses({(0, "q"): 0.1}), (0, "q"))["data"][0]["z"] == [[pytest.approx(10)]]


def test_the_chosen_cell_is_framed():
    values = losses({(0, "q"): 0.1, (0, "up"): 0.2, (1, "q"): 0.3, (1, "up"): 0.3})
    shapes = error_map(values, (1, "up"))["layout"]["shapes"]
    assert {(s["x0"], s["x1"], s["y0"], s["y1"]) for s in shapes} == {(0.5, 1.5, 0.5, 1.5)}
    assert error_map(values, (7, "up"))["layout"]["shapes"] == []
    assert error_map(values)["layout"]["shapes"] == []


def test_experts_share_a_cell_with_their_mean_and_range():
    cells = {(0, "attn.q"): 0.1} | {(0, f"mlp.experts.{e}.{name}"): 0.1 * (e + 1) for name in "ud" for e in (0, 1, 11)}
    figure = error_map(losses(cells), (0, "mlp.experts.11.d"))
    trace, points = figure["data"]
    assert trace["x"] == ["q", "u", "d"]
    assert trace["z"] == [[pytest.approx(10), pytest.approx(50), pytest.approx(50)]]
    assert points["text"] == ["", *["<br>experts 10.00 to 120.00 %"] * 2]
    assert {(s["x0"], s["x1"]) for s in figure["layout"]["shapes"]} == {(1.5, 2.5)}


FIRST = losses({(0, "attn.q"): 0.10, (0, "mlp.up"): 0.20, (1, "attn.q"): 0.30, (1, "mlp.up"): 0.40})


def test_plotly_accepts_a_map_of_plain_values():
    from plotly.graph_objects import Figure

    drawn = error_map(FIRST, (0, "attn.q"))
    json.dumps(drawn, allow_nan=False)
    Figure(drawn)
