"""The figures of several runs, checked against numbers worked out by hand."""

import json
import math

import pytest

from sds_core.comparison.claims import judge
from sds_core.comparison.compare import Row
from sds_core.comparison.outcomes import Outcome
from sds_core.comparison.references import Against
from sds_core.figures import compare as figures
from sds_core.pruning.perplexity import Comparison, Perplexity
from sds_core.runs.config import RunConfig


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


def test_names_are_no_markup():
    names = {"a": "<a href='https://example.org'>A</a>"}
    sweep = [row("a", "30%", 2.5, dense=(0.5, 0.1)), row("b", "0.7", 4.0, dense=(2.0, 0.2))]
    (curve,) = figures.sparsity_curves([sweep], [names["a"]])["data"]
    assert curve["name"].startswith("&lt;a href")


def test_perplexities_have_two_standard_errors_of_their_ratio_to_dense():
    rows = [row("a", loss=2.5, dense=(0.5, 0.1)), row("b", loss=3.0, dense=(1.0, 0.2))]
    found = figures.perplexities(rows, ["A", "<b>B</b>"])
    (points,) = found["data"]
    assert points["x"] == pytest.approx([math.exp(2.5), math.exp(3.0)])
    assert points["y"][0] == "A" and points["y"][1].startswith("&lt;b")
    high = [middle + bar for middle, bar in zip(points["x"], points["error_x"]["array"], strict=True)]
    assert high == pytest.approx([math.exp(2.5 + 0.12), math.exp(3.0 + 0.24)])
    assert found["layout"]["shapes"][0]["x0"] == pytest.approx(math.exp(2.0))


def test_an_exploded_perplexity_is_drawn():
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
    figure = figures.sparsity_curves([sweep], ["one"])
    json.dumps(figure, allow_nan=False)
    Figure(figure)
