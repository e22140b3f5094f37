"""The figures of several runs, checked against numbers worked out by hand."""

import json
import math

import pytest

from sds_core.figures import compare as figures
from sds_core.pruning.perplexity import Comparison, Perplexity
from sds_core.runs.claims import judge
from sds_core.runs.compare import Row
from sds_core.runs.config import RunConfig
from sds_core.runs.outcomes import Outcome
from sds_core.runs.references import Against


def row(run: str, pattern: str = "50%", loss: float = 3.0, **against: tuple[float, float]) -> Row:
    """A run with a mean loss and some claims, each a log ratio and its error over windows and over seeds together."""
    claims = {
        role: Against("R", "r", judge(Comparison(log_ratio, 0.6 * error), 0.8 * error, "seeds 0, 1 and 2"))
        for role, (log_ratio, error) in against.items()
    }
    outcome = Outcome(
        run=run,
        config=RunConfig(method="base", pattern=pattern),
        stage="sparse",
        sparsity=0.5,
        model_sparsity=0.4,
        measured=Perplexity((loss,), 9),
        dense=Perplexity((2.0,), 9),
        evaluation_sha256="x",
        calibration_sha256="y",
        total=100,
    )
    return Row(outcome, claims)


SURE, DOUBTFUL, WORSE = row("a", base=(-0.4, 0.1)), row("b", base=(-0.1, 0.06)), row("c", base=(0.3, 0.05))
NAMES = {"a": "A", "b": "B", "c": "C", "d": "D"}


def test_bars_reach_two_errors_to_either_side():
    figure = figures.forest([SURE], NAMES, "base")
    (trace,) = figure["data"]
    assert trace["x"] == [pytest.approx(math.exp(-0.4))]
    assert trace["x"][0] + trace["error_x"]["array"][0] == pytest.approx(math.exp(-0.2))
    assert trace["x"][0] - trace["error_x"]["arrayminus"][0] == pytest.approx(math.exp(-0.6))
    assert figure["layout"]["yaxis"]["ticktext"] == ["A<br>0.670 [0.549, 0.819]<br>of R"]


def test_verdicts_differ_in_name_colour_and_symbol():
    figure = figures.forest([SURE, DOUBTFUL, WORSE], NAMES, "base")
    found = {trace["name"]: trace for trace in figure["data"]}
    assert {name: trace["text"] for name, trace in found.items()} == {
        "surely better": ["A"],
        "not sure": ["B"],
        "surely worse": ["C"],
    }
    for part in ("color", "symbol"):
        assert len({trace["marker"][part] for trace in found.values()}) == 3
    assert [label[:5] for label in figure["layout"]["yaxis"]["ticktext"]] == ["A<br>", "B<br>", "C<br>"]
    assert [found[name]["y"] for name in ("surely better", "not sure", "surely worse")] == [[0], [1], [2]]


def test_names_are_no_markup():
    names = {"a": "<a href='https://example.org'>A</a>"}
    (label,) = figures.forest([SURE], names, "base")["layout"]["yaxis"]["ticktext"]
    sweep = [row("a", "30%", 2.5, dense=(0.5, 0.1)), row("b", "0.7", 4.0, dense=(2.0, 0.2))]
    (curve,) = figures.sparsity_curves([sweep], [names["a"]])["data"]
    assert label.startswith("&lt;a href") and curve["name"].startswith("&lt;a href")


def test_the_axis_holds_one_and_every_bar():
    low, high = figures.forest([WORSE], NAMES, "base")["layout"]["xaxis"]["range"]
    assert low < 0 and high > math.log10(math.exp(0.4))


def test_without_the_reference_there_is_no_forest():
    assert figures.forest([SURE], NAMES, "control") is None
    mixed = figures.forest([SURE, row("d", control=(0.1, 0.1))], NAMES, "control")
    assert [label[:5] for label in mixed["layout"]["yaxis"]["ticktext"]] == ["D<br>"]


def test_an_exploded_perplexity_is_drawn():
    figure = figures.forest([row("a", dense=(900.0, 1.0))], NAMES, "dense")
    assert 2 <= len(figure["layout"]["xaxis"]["tickvals"]) <= 13
    json.dumps(figure, allow_nan=False)
    json.dumps(figures.sparsity_curves([[row("a", loss=900.0, dense=(900.0, 400.0))]], ["A"]), allow_nan=False)


def test_a_curve_is_perplexity_by_ratio_with_errors():
    sweep = [row("a", "30%", 2.5, dense=(0.5, 0.1)), row("b", "0.7", 4.0, dense=(2.0, 0.2 / 0.6))]
    figure = figures.sparsity_curves([sweep, [row("c", "30%", 2.4, dense=(0.4, 0.1))]], ["one", "two"])
    curve = figure["data"][0]
    assert curve["x"] == [30, 70] and curve["y"] == [pytest.approx(math.exp(2.5)), pytest.approx(math.exp(4.0))]
    assert curve["y"][1] + curve["error_y"]["array"][1] == pytest.approx(math.exp(4.4))
    assert curve["y"][1] - curve["error_y"]["arrayminus"][1] == pytest.approx(math.exp(3.6))
    assert figure["layout"]["shapes"][0]["y0"] == pytest.approx(math.exp(2.0))
    assert figure["layout"]["annotations"][0]["text"] == "dense 7.39"
    looks = [(t["line"]["color"], t["line"]["dash"], t["marker"]["symbol"]) for t in figure["data"]]
    assert all(one != other for one, other in zip(*looks, strict=True))


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.5, 1.1, [0.6, 0.8, 1.0]),
        (0.985, 1.004, [0.985, 0.99, 0.995, 1.0]),
        (0.9, 60, [1, 2, 5, 10, 20, 50]),
        (0.9, 170, [1, 3, 10, 30, 100]),
        (0.5, 2e8, [10, 1e3, 1e5, 1e7]),
    ],
)
def test_ticks_are_round_numbers_in_between(low, high, expected):
    assert figures.ticks(low, high) == pytest.approx(expected)


def test_plotly_takes_the_pictures():
    from plotly.graph_objects import Figure

    sweep = [row("a", "30%", 2.5, dense=(0.5, 0.1)), row("b", "70%", 4.0, dense=(2.0, 0.2))]
    for figure in (
        figures.forest([SURE, DOUBTFUL, WORSE], NAMES, "base"),
        figures.sparsity_curves([sweep], ["one"]),
    ):
        json.dumps(figure, allow_nan=False)
        Figure(figure)
