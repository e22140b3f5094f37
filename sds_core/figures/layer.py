"""The figure of one layer's weights, stage by stage."""

from typing import Any

import pandas as pd

from sds_core.figures import style
from sds_core.figures.style import STAGE_COLOURS, Figure, per_cent
from sds_core.pruning.bins import BIN, BINS, SPAN, weights_counted
from sds_core.pruning.stages import LAYER_STAGES, STAGE_NAMES

DASHES = {"redense": "dash", "final": "dot"}
HEADROOM = 1.7
"""Figures are at most this many times as high as the dense peak; a higher peak is cut off, with a note."""
SHOWN = 4.0
"""Dense standard deviations to either side that a figure shows at first; zooming out shows the rest."""


def centres() -> list[float]:
    """Centres of the histogram's bins, in dense standard deviations."""
    return [-SPAN + (i + 0.5) * BIN for i in range(BINS)]


def density(row: pd.Series) -> list[float]:
    """Share of all weights per dense standard deviation, bin by bin: the area under it is 1 minus the zeros."""
    total = size(row)
    return [float(count) / total / BIN for count in row["counts"]]


def zeros(row: pd.Series) -> float:
    """Share of weights that are exactly zero."""
    return float(row["zeros"]) / size(row)


def size(row: pd.Series) -> int:
    """Number of a layer's weights."""
    return weights_counted(row["counts"], row["below"], row["above"], row["zeros"])


def at_stage(layer: pd.DataFrame, stage: str) -> pd.Series | None:
    """The statistics of a layer at a stage; None if not there."""
    found = layer[(layer["stage"] == stage) & (layer["round"] == 0)]
    return None if found.empty else found.iloc[-1]


def ridges(layer: pd.DataFrame) -> Figure:
    """The stages of one layer below each other on one axis, each in front of the outline of the dense weight.

    Args:
        layer: the rows of the layer statistics that belong to the layer.
    """
    rows = {stage: row for stage in LAYER_STAGES if (row := at_stage(layer, stage)) is not None}
    curves = {stage: density(row) for stage, row in rows.items()}
    top = height(list(curves.values()), curves.get("dense"))
    data, notes, axes = [], [], {}
    for i, (stage, curve) in enumerate(curves.items()):
        axis = f"y{i + 1}" if i else "y"
        axes[axis.replace("y", "yaxis")] = _density_axis(top, _slot(i, len(rows)))
        data.append(_filled(stage, curve, axis))
        if stage != "dense" and "dense" in curves:
            data.append(_outline("dense", curves["dense"], axis, width=1.5) | {"hoverinfo": "skip"})
        notes.append(_note(f"{_heading(stage)}<br>{per_cent(zeros(rows[stage]))} zeros", axis, 0.01))
        if cut := _share_above(curve, top):
            notes.append(_note(f"↑ {per_cent(cut, 0)} of the weights", axis, 0.53))
    return style.figure(
        data,
        height=70 + 120 * len(rows),
        annotations=notes,
        showlegend=False,
        xaxis=_weight_axis() | {"anchor": axis},
        **axes,
    )


def height(curves: list[list[float]], dense: list[float] | None) -> float:
    """Upper end of a density axis: the highest peak, but not far above the dense one."""
    highest = 1.08 * max(max(curve) for curve in curves)
    return min(highest, HEADROOM * max(dense)) if dense else highest


def _share_above(curve: list[float], top: float) -> float:
    """Share of all weights in the bins that rise above `top`."""
    return sum(value for value in curve if value > top) * BIN


def _outline(stage: str, curve: list[float], axis: str, width: float) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "x": centres(),
        "y": curve,
        "yaxis": axis,
        "name": STAGE_NAMES[stage],
        "line": {"color": STAGE_COLOURS[stage], "dash": DASHES.get(stage, "solid"), "width": width, "shape": "hvh"},
        "hovertemplate": "%{x:.2f} σ: %{y:.3f}<extra>%{fullData.name}</extra>",
    }


def _filled(stage: str, curve: list[float], axis: str) -> dict[str, Any]:
    """Return a filled curve in a row of its own, where no dash is needed."""
    trace = _outline(stage, curve, axis, width=2.5)
    solid = trace["line"] | {"dash": "solid"}
    return trace | {"line": solid, "fill": "tozeroy", "fillcolor": style.see_through(STAGE_COLOURS[stage], 0.4)}


def _slot(i: int, of: int) -> list[float]:
    """Return the range of the i-th row between bottom (0) and top (1), with a gap above it."""
    return [1 - (i + 1) / of, 1 - i / of - 0.06 / of * (i > 0)]


def _density_axis(top: float, domain: list[float] | None = None) -> dict[str, Any]:
    """A base line without numbers: areas count, not heights."""
    base = {"zeroline": True, "zerolinecolor": style.QUIET, "showgrid": False, "showticklabels": False}
    return base | {"range": [0, top], "domain": domain or [0, 1], "fixedrange": True}


def _weight_axis() -> dict[str, Any]:
    return style.titled("weight, in standard deviations of the dense layer") | {"range": [-SHOWN, SHOWN], "dtick": 1}


def _heading(stage: str) -> str:
    """A stage's name in its colour; that of the dense weight in the page's own, for grey reads badly on a dark page."""
    name = f"<b>{STAGE_NAMES[stage]}</b>"
    return name if stage == "dense" else f'<span style="color:{STAGE_COLOURS[stage]}">{name}</span>'


def _note(text: str, axis: str, x: float) -> dict[str, Any]:
    """Text in the upper part of a row."""
    across = {"xref": "x domain", "x": x, "xanchor": "left", "align": "left"}
    down = {"yref": f"{axis} domain", "y": 0.95, "yanchor": "top"}
    return across | down | {"text": text}
