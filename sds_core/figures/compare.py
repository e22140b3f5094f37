"""Figures of several runs: their paired ratios of perplexity, and perplexity against sparsity."""

import math
from collections.abc import Sequence
from typing import Any

from sds_core.figures import style
from sds_core.figures.markup import plotly
from sds_core.figures.style import Figure
from sds_core.pruning.pattern import Unstructured
from sds_core.pruning.perplexity import Comparison, format_perplexity, format_ratio
from sds_core.runs.claims import Claim, Verdict
from sds_core.runs.compare import Row
from sds_core.runs.references import Role

VERDICTS = {
    Verdict.BETTER: (style.BETTER, "circle"),
    Verdict.WORSE: (style.WORSE, "diamond"),
    Verdict.UNSURE: (style.QUIET, "circle-open"),
}
"""Colour and symbol of a ratio by its verdict."""
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross")


def forest(rows: list[Row], names: dict[str, str], reference: Role) -> Figure | None:
    """Paired ratios of perplexity, two standard errors to either side of each; None if no run has the reference.

    The errors are those over windows and over calibration seeds together, as far as they are known.

    Args:
        rows: runs, from top to bottom.
        names: what to call each run.
        reference: `dense`, `base` or `control`.
    """
    against = {plotly(names[row.run]): row.against[reference] for row in rows if reference in row.against}
    if not against:
        return None
    claims = {name: one.claim for name, one in against.items()}
    of = {name: "" if reference == "dense" else f"<br>of {plotly(one.name)}" for name, one in against.items()}
    order = list(claims)
    data = []
    for verdict in VERDICTS:
        found = {name: one for name, one in claims.items() if one.verdict is verdict}
        if found:
            data.append(_intervals(verdict, found, order))
    ends = [1.0, *(end for one in claims.values() for end in one.interval)]
    return style.figure(
        data,
        height=120 + 60 * len(order),
        xaxis=_log_axis("ratio of perplexities, below 1 is better", min(ends) / 1.05, max(ends) * 1.05),
        yaxis={
            "tickvals": list(range(len(order))),
            "ticktext": [f"{name}<br>{_written(one)}{of[name]}" for name, one in claims.items()],
            "range": [len(order) - 0.5, -0.5],
            "fixedrange": True,
        },
        shapes=[{"type": "line", "x0": 1, "x1": 1, "yref": "paper", "y0": 0, "y1": 1, "line": {"color": style.QUIET}}],
        showlegend=True,
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
        ends += [end for one in around for end in one.interval]
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
    """Share of the weights that an unstructured pattern prunes, in per cent."""
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


def _written(claim: Claim) -> str:
    """A ratio with the ends of its interval."""
    middle, low, high = (format_ratio(claim.log_ratio + errors * claim.error) for errors in (0, -2, 2))
    return f"{middle} [{low}, {high}]"


def _intervals(verdict: Verdict, claims: dict[str, Claim], order: list[str]) -> dict[str, Any]:
    colour, symbol = VERDICTS[verdict]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": str(verdict),
        "y": [order.index(name) for name in claims],
        "marker": {"color": colour, "symbol": symbol, "size": 12, "line": {"width": 2, "color": colour}},
        "text": list(claims),
        "hovertemplate": "%{text}<br>ratio %{x:.3f}<extra>%{fullData.name}</extra>",
        **_with_bars("x", list(claims.values()), colour),
    }


def _look(i: int) -> dict[str, Any]:
    """The i-th curve: told apart by colour, dash and symbol, each of which is enough."""
    colour, dash, symbol = (kinds[i % len(kinds)] for kinds in (style.RUN_COLOURS, DASHES, SYMBOLS))
    line = {"color": colour, "dash": dash, "width": 2.5}
    return {"type": "scatter", "mode": "lines+markers", "line": line, "marker": {"symbol": symbol, "size": 10}}


def _with_bars(axis: str, ratios: Sequence[Comparison | Claim], colour: str | None = None) -> dict[str, Any]:
    """Ratios along an axis, with bars from the lower to the upper end of their intervals."""
    middles = [one.ratio for one in ratios]
    reach = [one.interval for one in ratios]
    bars = {
        "type": "data",
        "symmetric": False,
        "array": [high - middle for middle, (_, high) in zip(middles, reach, strict=True)],
        "arrayminus": [middle - low for middle, (low, _) in zip(middles, reach, strict=True)],
        "thickness": 2.5,
        "width": 6,
    }
    return {axis: middles, f"error_{axis}": bars | ({"color": colour} if colour else {})}


def _log_axis(title: str, low: float, high: float) -> dict[str, Any]:
    values = ticks(low, high)
    axis = {"type": "log", "range": [math.log10(low), math.log10(high)], "tickangle": 0, "tickvals": values}
    return axis | style.titled(title) | {"ticktext": [f"{value:,g}" for value in values]}
