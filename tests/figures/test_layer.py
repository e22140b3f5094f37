"""The pictures as plain dicts, held against numbers worked out by hand."""

import ast
import json
import math
from pathlib import Path

import pandas as pd
import pytest

from sds_core.figures import layer as layer_figures
from sds_core.pruning.distribution import BINS, SPAN

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


def test_the_area_under_a_density_is_what_is_not_zero():
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
    assert any("sparse" in text and "50.0 % zeros" in text for text in texts)
    assert any("final" in text and "75.0 % zeros" in text for text in texts)


def test_a_stage_that_a_run_does_not_have_is_absent():
    figure = layer_figures.ridges(STAGED[STAGED["stage"].isin(["dense", "sparse"])])
    assert {trace["name"] for trace in figure["data"]} == {"dense", "sparse"}
    assert "yaxis3" not in figure["layout"]


def test_a_run_that_has_only_its_last_phase_can_be_drawn():
    figure = layer_figures.ridges(STAGED[STAGED["stage"] == "final"])
    assert [trace["name"] for trace in figure["data"]] == ["final"]
    assert figure["layout"]["yaxis"]["range"][1] == pytest.approx(1.08 * 0.25 / WIDTH)


def test_a_peak_far_above_the_dense_one_is_cut_and_says_how_much_is_in_it():
    spiky = layer(row("dense", {90: 50, 110: 50}), row("redense", {MIDDLE: 97, 110: 3}))
    figure = layer_figures.ridges(spiky)
    assert figure["layout"]["yaxis"]["range"][1] == pytest.approx(1.7 * 0.5 / WIDTH)
    assert any("97 % of" in note["text"] for note in figure["layout"]["annotations"])
    assert not any("↑" in note["text"] for note in layer_figures.ridges(STAGED)["layout"]["annotations"])


def test_without_rounds_there_is_no_player():
    assert layer_figures.player(STAGED) is None


def test_the_player_has_a_frame_a_round_and_moves_two_curves():
    rounds = [
        made
        for number in (1, 4, 12)
        for made in (
            row("redense", {MIDDLE: 10 * number, 0: 1}, number=number),
            row("pruned", {MIDDLE: number}, zeros=9, number=number),
        )
    ]
    figure = layer_figures.player(layer(*STAGED.to_dict("records"), *rounds))
    assert figure is not None
    assert [frame["name"] for frame in figure["frames"]] == ["1", "4", "12"]
    assert [trace["name"] for trace in figure["data"]] == ["re-dense", "what its prune keeps", "dense"]
    for frame in figure["frames"]:
        assert frame["traces"] == [0, 1]
    assert figure["frames"][1]["data"][0]["y"][MIDDLE] == pytest.approx(40 / 41 / WIDTH)
    assert figure["frames"][2]["data"][1]["y"][MIDDLE] == pytest.approx(12 / 21 / WIDTH)
    steps = figure["layout"]["sliders"][0]["steps"]
    assert [step["label"] for step in steps] == ["1", "4", "12"]
    assert not any(step["args"][1]["frame"]["redraw"] for step in steps)


def losses(values: dict[tuple[int, str], float]) -> pd.DataFrame:
    return pd.DataFrame([{"block": block, "linear": linear, "loss": loss} for (block, linear), loss in values.items()])


def test_heatmap_is_blocks_down_and_linears_across_in_per_cent():
    figure = layer_figures.heatmap(
        losses({(0, "attn.q"): 0.1, (0, "mlp.up"): 0.2, (1, "attn.q"): 0.05, (1, "mlp.up"): 0.4})
    )
    trace = figure["data"][0]
    assert trace["z"] == [[pytest.approx(10), pytest.approx(20)], [pytest.approx(5), pytest.approx(40)]]
    assert trace["x"] == ["q", "up"] and trace["y"] == ["0", "1"]
    assert figure["layout"]["yaxis"]["autorange"] == "reversed"


def test_heatmap_leaves_a_layer_out_that_is_not_done_yet():
    trace = layer_figures.heatmap(losses({(0, "q"): 0.1, (0, "up"): 0.2, (1, "q"): 0.3}))["data"][0]
    assert trace["z"][1] == [pytest.approx(30), None]


def test_heatmap_keeps_whole_labels_where_their_last_words_coincide():
    assert layer_figures.heatmap(losses({(0, "self.q"): 0.1, (0, "cross.q"): 0.2}))["data"][0]["x"] == [
        "self.q",
        "cross.q",
    ]


def test_heatmap_scale_begins_at_zero_or_below():
    assert layer_figures.heatmap(losses({(0, "q"): 0.1, (1, "q"): 0.2}))["data"][0]["zmin"] == 0
    assert layer_figures.heatmap(losses({(0, "q"): -0.1, (1, "q"): 0.2}))["data"][0]["zmin"] == pytest.approx(-10)


def test_heatmap_of_a_single_layer():
    assert layer_figures.heatmap(losses({(0, "q"): 0.1}), (0, "q"))["data"][0]["z"] == [[pytest.approx(10)]]


def test_the_chosen_cell_is_framed():
    values = losses({(0, "q"): 0.1, (0, "up"): 0.2, (1, "q"): 0.3, (1, "up"): 0.3})
    shapes = layer_figures.heatmap(values, (1, "up"))["layout"]["shapes"]
    assert {(s["x0"], s["x1"], s["y0"], s["y1"]) for s in shapes} == {(0.5, 1.5, 0.5, 1.5)}
    assert "shapes" not in layer_figures.heatmap(values, (7, "up"))["layout"]
    assert "shapes" not in layer_figures.heatmap(values)["layout"]


@pytest.mark.parametrize("stage", layer_figures.STAGES)
def test_every_stage_is_seen_on_both_backgrounds(stage):
    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return math.fsum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    for background in ("#FFFFFF", "#0E1117"):
        low, high = sorted([luminance(background), luminance(layer_figures.COLOURS[stage])])
        assert round((high + 0.05) / (low + 0.05), 1) >= 3


def test_pictures_are_plain_values_and_plotly_takes_them():
    from plotly.graph_objects import Figure

    rounds = [row("redense", {3: 1}, number=1), row("pruned", {3: 1}, number=1)]
    with_rounds = layer(*STAGED.to_dict("records"), *rounds)
    drawn = [
        layer_figures.ridges(STAGED),
        layer_figures.player(with_rounds),
        layer_figures.heatmap(STAGED, (0, "attn.q")),
    ]
    for figure in drawn:
        assert figure is not None
        json.dumps(figure, allow_nan=False)
        Figure(figure)


def test_no_plotting_library_is_imported():
    tree = ast.parse(Path(layer_figures.__file__).read_text(encoding="utf-8"))
    modules = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    modules |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not any("plotly" in module or "streamlit" in module for module in modules)
