"""The figures as plain dicts, checked against numbers worked out by hand."""

import json

import pandas as pd
import pytest

from sds_core.figures import layer as layer_figures
from sds_core.pruning.bins import BINS, SPAN

MIDDLE = BINS // 2
WIDTH = 12 / 201


def row(stage: str, counts: dict[int, int], zeros: int = 0, number: int = 0, **more) -> dict:
    """A record's row with a few bins filled."""
    full = [counts.get(i, 0) for i in range(BINS)]
    place = {"block": 0, "linear": "attn.q", "stage": stage, "round": number, "loss": 0.1}
    return place | {"counts": full, "below": 0, "above": 0, "zeros": zeros} | more


def layer(*rows: dict) -> pd.DataFrame:
    return pd.DataFrame(list(rows))


STAGED = layer(
    row("dense", {MIDDLE: 40, MIDDLE + 1: 60}),
    row("sparse", {MIDDLE + 1: 50}, zeros=50),
    row("redense", {MIDDLE: 80, MIDDLE + 1: 20}),
    row("final", {MIDDLE + 1: 25}, zeros=75),
)


def named(figure: dict, name: str) -> list[dict]:
    return [trace for trace in figure["data"] if trace["name"] == name]


def test_bins_are_centred_on_zero():
    middles = layer_figures.centres()
    assert len(middles) == 201
    assert middles[100] == pytest.approx(0, abs=1e-12)
    assert middles[0] == pytest.approx(-6 + WIDTH / 2)
    assert middles[-1] == pytest.approx(SPAN - WIDTH / 2)


def test_a_density_integrates_to_what_is_not_zero():
    curve = layer_figures.density(pd.Series(row("sparse", {10: 30, 150: 20}, zeros=40, below=6, above=4)))
    assert curve[10] == pytest.approx(0.30 / WIDTH)
    assert sum(curve) * WIDTH == pytest.approx(0.5)  # 40 zeros and 10 beyond the edges are not in it


def test_share_of_zeros():
    assert layer_figures.zeros(
        pd.Series(row("sparse", {10: 30, 150: 20}, zeros=40, below=6, above=4))
    ) == pytest.approx(0.4)


def test_ridges_are_one_row_a_stage_on_one_axis():
    figure = layer_figures.ridges(STAGED)
    assert [name for t in figure["data"] if "fill" in t for name in [t["name"]]] == [
        "dense",
        "sparse",
        "re-dense",
        "final",
    ]
    assert len(named(figure, "dense")) == 4, "the outline is repeated behind every other stage"
    axes = [figure["layout"][name] for name in ("yaxis", "yaxis2", "yaxis3", "yaxis4")]
    assert len({tuple(axis["range"]) for axis in axes}) == 1
    edges = [edge for axis in axes for edge in reversed(axis["domain"])]
    assert edges == sorted(edges, reverse=True) and edges[0] == 1 and edges[-1] == pytest.approx(0)


def test_zeros_are_a_label_in_per_cent():
    texts = [note["text"] for note in layer_figures.ridges(STAGED)["layout"]["annotations"]]
    assert any("sparse" in text and "50.0\N{NO-BREAK SPACE}% zeros" in text for text in texts)
    assert any("final" in text and "75.0\N{NO-BREAK SPACE}% zeros" in text for text in texts)


def test_a_missing_stage_is_absent():
    figure = layer_figures.ridges(STAGED[STAGED["stage"].isin(["dense", "sparse"])])
    assert {trace["name"] for trace in figure["data"]} == {"dense", "sparse"}
    assert "yaxis3" not in figure["layout"]


def test_a_last_phase_alone_is_drawn():
    figure = layer_figures.ridges(STAGED[STAGED["stage"] == "final"])
    assert [trace["name"] for trace in figure["data"]] == ["final"]
    assert figure["layout"]["yaxis"]["range"][1] == pytest.approx(1.08 * 0.25 / WIDTH)


def test_a_high_peak_is_cut_with_a_note():
    spiky = layer(row("dense", {90: 50, 110: 50}), row("redense", {MIDDLE: 97, 110: 3}))
    figure = layer_figures.ridges(spiky)
    assert figure["layout"]["yaxis"]["range"][1] == pytest.approx(1.7 * 0.5 / WIDTH)
    assert any("97\N{NO-BREAK SPACE}% of" in note["text"] for note in figure["layout"]["annotations"])
    assert not any("↑" in note["text"] for note in layer_figures.ridges(STAGED)["layout"]["annotations"])


def test_plotly_accepts_a_figure_of_plain_values():
    from plotly.graph_objects import Figure

    figure = layer_figures.ridges(STAGED)
    json.dumps(figure, allow_nan=False)
    Figure(figure)
