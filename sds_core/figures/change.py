"""Figures of what changed in one layer: values before and after, masks before and after."""

import math
from typing import Any

from sds_core.figures import style
from sds_core.figures.layer import SHOWN
from sds_core.figures.style import STAGE_COLOURS, Figure
from sds_core.pruning.bins import JOINT, SPAN
from sds_core.pruning.pattern import NM, Pattern
from sds_core.pruning.stages import STAGE_NAMES

MASKS = {
    0: ("pruned by both", style.PRUNED),
    3: ("kept by both", style.KEPT),
    1: ("lost", style.LOST),
    2: ("returned", style.RETURNED),
}
"""Codes of `mask_crop` with their names and colours, in the order of the legend."""
MARGIN = {"l": 60, "r": 10, "t": 10, "b": 50}
"""Both figures have square cells, which leave no room for margins that grow."""


def before_and_after(joint: list[int], stage: str) -> Figure:
    """Where the dense weights have gone: their old value across, the new one upwards, shaded by log count.

    Args:
        joint: `JOINT`² counts, dense values downwards.
        stage: which weights they became.
    """
    width = 2 * SPAN / JOINT
    middles = [-SPAN + (i + 0.5) * width for i in range(JOINT)]
    counts = [[joint[i * JOINT + j] for i in range(JOINT)] for j in range(JOINT)]  # after upwards, before across
    powers = list(range(int(math.log10(max(*joint, 1))) + 1))
    cells = {
        "type": "heatmap",
        "x": middles,
        "y": middles,
        "z": [[math.log10(count) if count else None for count in row] for row in counts],
        "customdata": counts,
        "hovertemplate": "dense %{x:.2f} → now %{y:.2f}<br>%{customdata} weights<extra></extra>",
        "colorscale": style.COUNTS,
        "colorbar": style.titled("weights") | {"tickvals": powers, "ticktext": [f"{10**p:,}" for p in powers]},
    }
    unchanged = {
        "type": "scatter",
        "mode": "lines",
        "x": [-SPAN, SPAN],
        "y": [-SPAN, SPAN],
        "line": {"color": STAGE_COLOURS["dense"], "dash": "dot", "width": 1.5},
        "hoverinfo": "skip",
    }
    axis = {"range": [-SHOWN, SHOWN], "constrain": "domain"}
    return style.figure(
        [cells, unchanged],
        height=520,
        margin=MARGIN,
        xaxis=axis | style.titled("dense weight (standard deviations)"),
        yaxis=axis | style.titled(f"{STAGE_NAMES[stage]} weight") | {"scaleanchor": "x"},
        showlegend=False,
    )


def masks(crop: list[int], columns: int, pattern: Pattern) -> Figure:
    """A corner of two masks: what both keep, what the second loses, what it brings back.

    Args:
        crop: codes of `mask_crop`, row by row.
        columns: number of inputs of the layer.
        pattern: what the masks obey; N:M gets a line every M inputs.
    """
    wide = min(columns, JOINT)
    rows = [crop[start : start + wide] for start in range(0, len(crop), wide)]
    order = {code: place for place, code in enumerate(MASKS)}
    colours = [colour for _, colour in MASKS.values()]
    cells = {
        "type": "heatmap",
        "z": [[order[code] for code in row] for row in rows],
        "text": [[MASKS[code][0] for code in row] for row in rows],
        "hovertemplate": "output %{y}, input %{x}: %{text}<extra></extra>",
        "colorscale": [[(i + end) / len(MASKS), colour] for i, colour in enumerate(colours) for end in (0, 1)],
        "zmin": -0.5,
        "zmax": len(MASKS) - 0.5,
        "showscale": False,
        "xgap": 1,
        "ygap": 1,
    }
    axis = {"showgrid": False, "constrain": "domain"}
    return style.figure(
        [cells, *(_legend_entry(name, colour) for name, colour in MASKS.values())],
        height=140 + round(480 * len(rows) / wide),
        margin=MARGIN,
        xaxis=axis | style.titled("input") | {"range": [-0.5, wide - 0.5]},
        yaxis=axis | style.titled("output") | {"range": [len(rows) - 0.5, -0.5], "scaleanchor": "x"},
        shapes=_group_edges(pattern, wide, len(rows)),
        dragmode=False,
    )


def _legend_entry(name: str, colour: str) -> dict[str, Any]:
    """A trace without a point: a heatmap has no legend."""
    square = {"symbol": "square", "size": 14, "color": colour, "line": {"width": 1, "color": style.QUIET}}
    return {"type": "scatter", "mode": "markers", "x": [None], "y": [None], "name": name, "marker": square}


def _group_edges(pattern: Pattern, wide: int, high: int) -> list[dict[str, Any]]:
    """A line between neighbouring groups of an N:M pattern."""
    if not isinstance(pattern, NM):
        return []
    line = {"type": "line", "y0": -0.5, "y1": high - 0.5, "line": {"width": 1, "color": style.QUIET}, "opacity": 0.6}
    return [line | {"x0": edge - 0.5, "x1": edge - 0.5} for edge in range(pattern.group, wide, pattern.group)]
