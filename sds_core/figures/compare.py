"""Figures of several runs: their perplexities, and perplexity against sparsity in a sweep."""

import math
from collections.abc import Sequence
from typing import Any

from sds_core.comparison.compare import Row
from sds_core.figures import style
from sds_core.figures.markup import plotly
from sds_core.figures.style import Figure
from sds_core.pruning.pattern import Unstructured
from sds_core.pruning.perplexity import Comparison, format_perplexity

DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross")


def perplexities(rows: Sequence[Row], names: Sequence[str]) -> Figure:
    """The perplexity of every run, a row each, with two standard errors of its ratio to the dense model.

    Args:
        rows: the runs, from top to bottom.
        names: what to call each.
    """
    around = [Comparison(math.log(row.perplexity), row.against["dense"].claim.window_error) for row in rows]
    dense = rows[0].outcome.dense.value
    ends = [dense, *(end for comparison in around for end in comparison.interval)]
    points = (
        {"type": "scatter"} | _with_bars("x", around) | {"y": [plotly(name) for name in names], "mode": "markers+text"}
    )
    points |= {"text": [f"{row.perplexity:.2f}" for row in rows], "textposition": "top center", "cliponaxis": False}
    line = {"type": "line", "yref": "paper", "y0": 0, "y1": 1, "x0": dense, "x1": dense}
    note = {"text": f"dense {format_perplexity(dense)}", "yref": "paper", "y": 1, "yanchor": "bottom"}
    return style.figure(
        [points | {"marker": {"size": 11, "color": style.QUIET}, "hovertemplate": "%{y}: %{x:.2f}<extra></extra>"}],
        height=110 + 48 * len(rows),
        xaxis=_log_axis("perplexity", min(ends) / 1.1, max(ends) * 1.1),
        yaxis={"autorange": "reversed", "automargin": True},
        shapes=[line | {"line": {"color": style.QUIET, "width": 2, "dash": "dot"}}],
        annotations=[note | {"x": math.log10(dense)}],
    )


def sparsity_curves(sweeps: list[list[Row]], names: list[str]) -> Figure:
    """Perplexity against the share of pruned weights, a curve per sweep, on a log axis.

    Args:
        sweeps: runs that differ only in the ratio of their pattern, by ratio.
        names: what to call each sweep.
    """
    data, ends = [], []
    for i, (sweep, name) in enumerate(zip(sweeps, names, strict=True)):
        around = [Comparison(math.log(row.perplexity), row.against["dense"].claim.window_error) for row in sweep]
        ends += [end for comparison in around for end in comparison.interval]
        curve = {"x": [ratio(row) for row in sweep], "name": plotly(name)} | _look(i)
        data.append(curve | _with_bars("y", around) | {"hovertemplate": "%{x:g} % pruned: perplexity %{y:.2f}"})
    dense = sweeps[0][0].outcome.dense.value
    line = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": dense, "y1": dense}
    note = {
        "text": f"dense {format_perplexity(dense)}",
        "xref": "paper",
        "x": 1,
        "xanchor": "right",
        "yanchor": "bottom",
    }
    return style.figure(
        data,
        height=460,
        xaxis=style.titled("pruned weights") | {"ticksuffix": " %"},
        yaxis=_log_axis("perplexity", min(*ends, dense) / 1.1, max(*ends, dense) * 1.2),
        shapes=[line | {"line": {"color": style.QUIET, "width": 2, "dash": "dot"}}],
        annotations=[note | {"y": math.log10(dense)}],  # on a log axis, an annotation is placed by its logarithm
        showlegend=True,
    )


def ratio(row: Row) -> float:
    """Return the share of weights that an unstructured pattern prunes, in per cent."""
    pattern = row.config.parsed_pattern()
    assert isinstance(pattern, Unstructured)
    return float(100 * pattern.ratio)


def ticks(low: float, high: float) -> list[float]:
    """Round numbers between two positive ones: a few of every decade where the span is wide, only powers of ten
    where it is wider, else even steps."""
    if high / low > 4:
        densest = {2: (1, 2, 5), 4: (1, 3), 400: (1,)}  # digits of the ticks in a decade, by decades spanned
        digits = next(digits for most, digits in densest.items() if math.log10(high / low) < most)
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        candidates = [float(f"{digit}e{n}") for n in decades[:: math.ceil(len(decades) / 8)] for digit in digits]
    else:
        rough = (high - low) / 5
        size = 10.0 ** math.floor(math.log10(rough))
        step = next(size * digit for digit in (1, 2, 5, 10) if size * digit >= rough)
        candidates = [float(f"{i * step:.12g}") for i in range(math.ceil(low / step), math.floor(high / step) + 1)]
    return [value for value in candidates if low <= value <= high]


def _look(i: int) -> dict[str, Any]:
    """Return the style of the i-th curve, identified by colour, by dash and by symbol."""
    colour, dash, symbol = (kinds[i % len(kinds)] for kinds in (style.RUN_COLOURS, DASHES, SYMBOLS))
    line = {"color": colour, "dash": dash, "width": 2.5}
    return {"type": "scatter", "mode": "lines+markers", "line": line, "marker": {"symbol": symbol, "size": 10}}


def _with_bars(axis: str, ratios: Sequence[Comparison]) -> dict[str, Any]:
    """Return ratios along an axis, with error bars that span their intervals."""
    middles = [comparison.ratio for comparison in ratios]
    reach = [comparison.interval for comparison in ratios]
    bars = {
        "type": "data",
        "symmetric": False,
        "array": [high - middle for middle, (_, high) in zip(middles, reach, strict=True)],
        "arrayminus": [middle - low for middle, (low, _) in zip(middles, reach, strict=True)],
        "thickness": 2.5,
        "width": 6,
    }
    return {axis: middles, f"error_{axis}": bars}


def _log_axis(title: str, low: float, high: float) -> dict[str, Any]:
    values = ticks(low, high)
    axis = {"type": "log", "range": [math.log10(low), math.log10(high)], "tickangle": 0, "tickvals": values}
    return axis | style.titled(title) | {"ticktext": [f"{value:,g}" for value in values]}
