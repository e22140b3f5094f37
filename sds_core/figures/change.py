"""Pictures of what changed in one layer, as plain Plotly dicts: values before and after, masks before and after."""

import math
from typing import Any

from sds_core.figures.layer import COLOURS, NAMES, SHOWN, TEXT, Figure
from sds_core.pruning.distribution import JOINT, SPAN
from sds_core.pruning.pattern import NM, Pattern

MASKS = {
    0: ("pruned by both", "rgba(127,127,127,0.10)"),
    3: ("kept by both", "rgba(127,127,127,0.75)"),
    1: ("lost", COLOURS["sparse"]),
    2: ("returned", COLOURS["redense"]),
}
"""Codes of `mask_crop` with their names and colours, in the order of the legend."""
WARM = [[0, "rgba(224,123,0,0.15)"], [0.5, "#E07B00"], [1, "#7A1F00"]]


def before_and_after(joint: list[int], stage: str) -> Figure:
    """Where the dense weights have gone: their value across, the value they have now upwards, shade by log count.

    Args:
        joint: `JOINT`² counts, dense values downwards.
        stage: which weights they became.
    """
    width = 2 * SPAN / JOINT
    middles = [-SPAN + (i + 0.5) * width for i in range(JOINT)]
    counts = [[joint[i * JOINT + j] for i in range(JOINT)] for j in range(JOINT)]  # after upwards, before across
    highest = max(max(map(max, counts)), 1)
    powers = list(range(int(math.log10(highest)) + 1))
    cells = {
        "type": "heatmap",
        **{"x": middles, "y": middles},
        "z": [[math.log10(count) if count else None for count in row] for row in counts],
        "customdata": counts,
        "hovertemplate": "dense %{x:.2f} → now %{y:.2f}<br>%{customdata} weights<extra></extra>",
        "hoverongaps": False,
        "colorscale": WARM,
        "colorbar": {"tickvals": powers, "ticktext": [f"{10**p:,}" for p in powers], "thickness": 14}
        | {"title": {"text": "weights", "font": {"size": TEXT}}},
    }
    line: dict[str, Any] = {
        "type": "scatter",
        "x": [-SPAN, SPAN],
        "y": [-SPAN, SPAN],
        "mode": "lines",
        "hoverinfo": "skip",
    }
    line |= {"line": {"color": COLOURS["dense"], "dash": "dot", "width": 1.5}, "showlegend": False}
    axis: dict[str, Any] = {"range": [-SHOWN, SHOWN], "zeroline": False, "tickfont": {"size": TEXT - 1}}
    axis["constrain"] = "domain"
    across = axis | {"title": {"text": "dense weight (standard deviations)", "font": {"size": TEXT}}}
    up = axis | {"title": {"text": f"{NAMES[stage]} weight", "font": {"size": TEXT}}, "scaleanchor": "x"}
    layout: dict[str, Any] = {
        "height": 520,
        "margin": {"l": 60, "r": 10, "t": 10, "b": 50},
        "xaxis": across,
        "yaxis": up,
    }
    return {"data": [cells, line], "layout": layout | {"showlegend": False, "font": {"size": TEXT}}}


def masks(crop: list[int], columns: int, pattern: Pattern) -> Figure:
    """A corner of two masks: what both keep, what the second lost, what it brought back.

    Args:
        crop: codes of `mask_crop`, row by row.
        columns: number of inputs of the layer.
        pattern: what the masks obey; N:M gets a line every M inputs.
    """
    wide = min(columns, JOINT)
    rows = [crop[start : start + wide] for start in range(0, len(crop), wide)]
    order = {code: place for place, code in enumerate(MASKS)}
    steps = [(place, colour) for place, (_, colour) in enumerate(MASKS.values())]
    cells = {
        "type": "heatmap",
        "z": [[order[code] for code in row] for row in rows],
        "text": [[MASKS[code][0] for code in row] for row in rows],
        "hovertemplate": "output %{y}, input %{x}: %{text}<extra></extra>",
        "colorscale": [[(place + end) / len(MASKS), colour] for place, colour in steps for end in (0, 1)],
        **{"zmin": -0.5, "zmax": len(MASKS) - 0.5, "showscale": False, "xgap": 1, "ygap": 1},
    }
    legend: list[dict[str, Any]] = [
        {
            **{"type": "scatter", "x": [None], "y": [None], "mode": "markers", "name": name},
            "marker": {"symbol": "square", "size": 14, "color": colour, "line": {"width": 1, "color": "#7F7F7F"}},
        }
        for name, colour in MASKS.values()
    ]
    lines = [
        {
            **{"type": "line", "x0": edge - 0.5, "x1": edge - 0.5, "y0": -0.5, "y1": len(rows) - 0.5},
            "line": {"width": 1, "color": "rgba(127,127,127,0.6)"},
        }
        for edge in (range(pattern.group, wide, pattern.group) if isinstance(pattern, NM) else ())
    ]
    axis = {"showgrid": False, "zeroline": False, "tickfont": {"size": TEXT - 1}, "constrain": "domain"}
    across = axis | {"title": {"text": "input", "font": {"size": TEXT}}, "range": [-0.5, wide - 0.5]}
    down = axis | {"title": {"text": "output", "font": {"size": TEXT}}, "range": [len(rows) - 0.5, -0.5]}
    layout = {"height": 140 + round(480 * len(rows) / wide), "margin": {"l": 60, "r": 10, "t": 10, "b": 50}}
    layout |= {"xaxis": across, "yaxis": down | {"scaleanchor": "x"}, "shapes": lines, "dragmode": False}
    legend_box = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "font": {"size": TEXT}}
    return {"data": [cells, *legend], "layout": layout | {"legend": legend_box, "font": {"size": TEXT}}}
