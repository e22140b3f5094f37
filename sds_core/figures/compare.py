"""Pictures of several runs beside each other, as plain Plotly dicts."""

import math
from typing import Any

import pandas as pd

from sds_core.figures.layer import SCALE, TEXT, Figure, base_layout, short_names
from sds_core.pruning.pattern import Unstructured
from sds_core.pruning.perplexity import Comparison
from sds_core.runs.compare import Row

SURE = {"surely better": ("#00A878", "circle"), "surely worse": ("#E07B00", "diamond")}
SURE |= {"not sure": ("#868B94", "circle-open")}
"""Colour and sign of a ratio by what its interval of two standard errors says."""
LINES = (
    ("#E07B00", "solid", "circle"),
    ("#3B82F6", "dash", "square"),
    ("#00A878", "dot", "diamond"),
    ("#B45FCF", "dashdot", "triangle-up"),
    ("#6E737B", "longdash", "cross"),
)
"""Colour, dash and sign of a curve: each of the three tells them apart."""
DIVERGING = [[0, "#2166AC"], [0.25, "#92C5DE"], [0.5, "#F7F7F7"], [0.75, "#F4A582"], [1, "#B2182B"]]
LIMIT = 600.0
"""Logarithms are drawn up to here: a little beyond, their power of e is no number any more."""


def forest(rows: list[Row], names: dict[str, str], reference: str) -> Figure | None:
    """Paired ratios of perplexity, each with two standard errors to either side; None if no run has the reference.

    Args:
        rows: runs, from top to bottom.
        names: what to call each run.
        reference: `dense`, `base` or `control`.
    """
    paired = {names[row.run]: row.against[reference] for row in rows if reference in row.against}
    if not paired:
        return None
    order = list(paired)
    data = []
    for verdict in SURE:
        of_it = {name: one for name, one in paired.items() if _verdict(one) == verdict}
        if of_it:
            data.append(_intervals(verdict, of_it, order))
    ends = [end for one in paired.values() for end in interval(one)] + [1.0]
    low, high = min(ends) / 1.05, max(ends) * 1.05
    labels = [f"{name}<br>{_written(one)}" for name, one in paired.items()]  # beside the plot, they would squeeze it
    one_line = {"type": "line", "x0": 1, "x1": 1, "yref": "paper", "y0": 0, "y1": 1, "line": {"color": "#868B94"}}
    layout = base_layout(120 + 46 * len(order)) | {"shapes": [one_line], "showlegend": True}
    layout["legend"] = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "font": {"size": TEXT - 1}}
    layout["xaxis"] = _log_axis("ratio of perplexities, below 1 is better", low, high)
    layout["yaxis"] = {
        **{"tickmode": "array", "tickvals": list(range(len(order))), "ticktext": labels, "fixedrange": True},
        **{"range": [len(order) - 0.5, -0.5], "tickfont": {"size": TEXT}, "automargin": True, "zeroline": False},
    }
    return {"data": data, "layout": layout}


def interval(paired: Comparison) -> tuple[float, float]:
    """The ratio two standard errors below and above."""
    return _power(paired.log_ratio - 2 * paired.error), _power(paired.log_ratio + 2 * paired.error)


def difference_maps(first: pd.DataFrame, second: pd.DataFrame) -> Figure:
    """Output errors of two runs, A and B, on one scale, blocks downwards, linears across; and A minus B.

    Args:
        first, second: columns `block`, `linear`, `loss`; layers that only one of them has are empty in the difference.
    """
    both = pd.concat([first, second])
    blocks = sorted({int(block) for block in both["block"]})
    linears = list(dict.fromkeys(both.sort_values("block", kind="stable")["linear"]))
    one, other = (_matrix(losses, blocks, linears) for losses in (first, second))
    pairs = [list(zip(*both_rows, strict=True)) for both_rows in zip(one, other, strict=True)]
    change = [[None if a is None or b is None else a - b for a, b in row] for row in pairs]
    data, layout = [], base_layout(210 + (30 if len(blocks) <= 12 else 18) * len(blocks))
    layout |= {"dragmode": False, "annotations": []}
    titles = ("A", "B", "A minus B")
    units = ("error %{z:.2f} %", "error %{z:.2f} %", "%{z:+.2f} percentage points")
    for i, (values, title, unit) in enumerate(zip((one, other, change), titles, units, strict=True)):
        axis, left = str(i + 1) if i else "", i * 0.345
        trace: dict[str, Any] = {
            "type": "heatmap",
            "z": values,
            "x": short_names(linears),
            "y": [str(block) for block in blocks],
        }
        trace |= {"xaxis": f"x{axis}", "coloraxis": "coloraxis2" if i == 2 else "coloraxis", "xgap": 1, "ygap": 1}
        data.append(trace | {"hovertemplate": f"block %{{y}} · %{{x}}<br>{unit}<extra></extra>"})
        across = {"side": "top", "type": "category", "showgrid": False, "tickangle": -60, "dtick": 1}
        layout[f"xaxis{axis}"] = across | {"domain": [left, left + 0.31], "tickfont": {"size": TEXT - 1}}
        heading = {"text": f"<b>{title}</b>", "font": {"size": TEXT}, "showarrow": False}
        place = {"xref": "paper", "x": left, "xanchor": "left", "yref": "paper", "y": 1, "yanchor": "bottom"}
        layout["annotations"].append(heading | place | {"yshift": 84})
    layout["margin"] = layout["margin"] | {"t": 116}
    layout["yaxis"] = {"type": "category", "autorange": "reversed", "showgrid": False, "fixedrange": True}
    layout["yaxis"] |= {"title": {"text": "block", "font": {"size": TEXT}}, "dtick": 1 if len(blocks) <= 12 else 5}
    found = [v for row in (*one, *other) for v in row if v is not None]
    widest = max((abs(v) for row in change for v in row if v is not None), default=0.0) or 1.0
    layout["coloraxis"] = {"colorscale": SCALE, "cmin": min(0.0, *found), "cmax": max(found)}
    layout["coloraxis"]["colorbar"] = _bar(0, 0.655, "output error", " %")
    layout["coloraxis2"] = {"colorscale": DIVERGING, "cmin": -widest, "cmax": widest}
    layout["coloraxis2"]["colorbar"] = _bar(0.69, 0.31, "points", "")
    return {"data": data, "layout": layout}


def sparsity_curves(sweeps: list[list[Row]], names: list[str]) -> Figure:
    """Perplexity against the share of pruned weights, a curve a sweep, both axes as they are read: per cent, and log.

    Args:
        sweeps: runs that differ only in the ratio of their pattern, by ratio.
        names: what to call each sweep.
    """
    data, ends = [], []
    for i, (sweep, name) in enumerate(zip(sweeps, names, strict=True)):
        colour, dash, symbol = LINES[i % len(LINES)]
        around = [Comparison(math.log(row.perplexity), row.against["dense"].error) for row in sweep]
        middles = [_power(one.log_ratio) for one in around]
        reach = [interval(one) for one in around]
        ends += [end for pair in reach for end in pair]
        data.append(
            {
                **{"type": "scatter", "mode": "lines+markers", "name": name, "y": middles},
                **{"x": [ratio(row) for row in sweep], "line": {"color": colour, "dash": dash, "width": 2.5}},
                "marker": {"symbol": symbol, "size": 10},
                "error_y": _error_bars(middles, reach),
                "hovertemplate": "%{x:g} % pruned: perplexity %{y:.2f}<extra>" + name + "</extra>",
            }
        )
    dense = sweeps[0][0].dense.value
    line = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": dense, "y1": dense}
    layout = base_layout(460) | {"shapes": [line | {"line": {"color": "#868B94", "width": 2, "dash": "dot"}}]}
    note = {"text": f"dense {dense:,.2f}", "xref": "paper", "x": 1, "xanchor": "right", "showarrow": False}
    layout["annotations"] = [note | {"y": math.log10(dense), "yanchor": "bottom", "font": {"size": TEXT}}]
    layout["legend"] = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "font": {"size": TEXT}}
    layout["showlegend"] = True
    layout["xaxis"] = {"title": {"text": "pruned weights", "font": {"size": TEXT}}, "ticksuffix": " %"}
    layout["xaxis"] |= {"tickfont": {"size": TEXT}, "zeroline": False, "automargin": True}
    layout["yaxis"] = _log_axis("perplexity", min(*ends, dense) / 1.1, max(*ends, dense) * 1.2)
    return {"data": data, "layout": layout}


def ratio(row: Row) -> float:
    """Share of the weights that an unstructured pattern prunes, in per cent."""
    pattern = row.config.parsed_pattern()
    assert isinstance(pattern, Unstructured)
    return float(100 * pattern.ratio)


def ticks(low: float, high: float) -> list[float]:
    """Round numbers between two positive ones: a few of every decade where the span is wide, only powers of ten
    where it is wider, else even steps."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    if high / low > 4:
        digits = next(
            found for most, found in ((2, (1, 2, 5)), (4, (1, 3)), (400, (1,))) if math.log10(high / low) < most
        )
        apart = math.ceil(len(decades) / 8)
        candidates = [float(f"{digit}e{power}") for power in decades[::apart] for digit in digits]
    else:
        rough = (high - low) / 5
        size = 10.0 ** math.floor(math.log10(rough))
        step = next(size * digit for digit in (1, 2, 5, 10) if size * digit >= rough)
        candidates = [float(f"{i * step:.12g}") for i in range(math.ceil(low / step), math.floor(high / step) + 1)]
    return [value for value in candidates if low <= value <= high]


def _written(paired: Comparison) -> str:
    """A ratio with the ends of its interval."""
    middle, low, high = (
        f"{value:.3f}" if value < 1000 else f"{value:.2e}" for value in (_power(paired.log_ratio), *interval(paired))
    )
    return f"{middle} [{low}, {high}]"


def _verdict(paired: Comparison) -> str:
    if not paired.sure:
        return "not sure"
    return "surely better" if paired.log_ratio < 0 else "surely worse"


def _power(exponent: float) -> float:
    return math.exp(min(exponent, LIMIT))


def _intervals(verdict: str, paired: dict[str, Comparison], order: list[str]) -> dict[str, Any]:
    colour, symbol = SURE[verdict]
    middles = [_power(one.log_ratio) for one in paired.values()]
    bars = _error_bars(middles, [interval(one) for one in paired.values()])
    return {
        **{"type": "scatter", "mode": "markers", "name": verdict, "x": middles},
        **{"y": [order.index(name) for name in paired], "error_x": bars | {"color": colour}},
        **{"marker": {"color": colour, "symbol": symbol, "size": 12, "line": {"width": 2, "color": colour}}},
        **{"text": list(paired), "hovertemplate": "%{text}<br>ratio %{x:.4f}<extra>" + verdict + "</extra>"},
    }


def _error_bars(middles: list[float], reach: list[tuple[float, float]]) -> dict[str, Any]:
    """Bars from the lower to the upper end of each interval."""
    above = [high - middle for middle, (_, high) in zip(middles, reach, strict=True)]
    below = [middle - low for middle, (low, _) in zip(middles, reach, strict=True)]
    return {"type": "data", "symmetric": False, "array": above, "arrayminus": below, "thickness": 2.5, "width": 6}


def _log_axis(title: str, low: float, high: float) -> dict[str, Any]:
    axis = {
        "type": "log",
        "range": [math.log10(low), math.log10(high)],
        "tickmode": "array",
        "automargin": True,
        "tickangle": 0,
    }
    axis |= {"tickvals": ticks(low, high), "ticktext": [f"{value:,g}" for value in ticks(low, high)]}
    return axis | {"title": {"text": title, "font": {"size": TEXT}}, "tickfont": {"size": TEXT}}


def _matrix(losses: pd.DataFrame, blocks: list[int], linears: list[str]) -> list[list[float | None]]:
    """Losses in per cent, a row a block; None where a layer is missing."""
    known = {(int(b), c): float(v) for b, c, v in zip(losses["block"], losses["linear"], losses["loss"], strict=True)}
    return [[100 * known[b, c] if (b, c) in known else None for c in linears] for b in blocks]


def _bar(x: float, length: float, title: str, suffix: str) -> dict[str, Any]:
    """A colour bar that lies under the maps."""
    place = {"orientation": "h", "x": x, "xanchor": "left", "y": -0.02, "yanchor": "top", "len": length}
    look = {"thickness": 12, "ticksuffix": suffix, "nticks": 4, "tickangle": 0, "tickfont": {"size": TEXT - 1}}
    return place | look | {"title": {"text": title, "side": "bottom", "font": {"size": TEXT}}}
