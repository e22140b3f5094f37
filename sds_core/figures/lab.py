"""The Layer lab's figure: errors and mask by round."""

from typing import Any

import pandas as pd

from sds_core.figures import style
from sds_core.figures.layer import COLOURS
from sds_core.figures.style import Figure

CURVES = {
    ("pruned", "held_out"): ("pruned again, held-out text", "solid", "circle"),
    ("pruned", "seen"): ("pruned again, calibration text", "dot", "circle-open"),
    ("redense", "held_out"): ("re-dense, held-out text", "solid", "square"),
    ("redense", "seen"): ("re-dense, calibration text", "dot", "square-open"),
}
"""Name, dash and symbol by stage and text."""
SOLVED = "first prune, weights solved, held-out text"
LEAST = 5.0
"""Per cent of the mask that the lower figure shows at least: a mask that stays must look like it."""


def rounds(found: pd.DataFrame) -> Figure:
    """Output errors after every round above, and below the share of the mask that its prune changes.

    Args:
        found: what `lesson.lab.rounds` returns.
    """
    by_stage = {str(stage): rows.sort_values("round") for stage, rows in found.groupby("stage")}
    first, again, last = by_stage["sparse"].iloc[0], by_stage["pruned"], int(found["round"].max())
    data = []
    for (stage, part), (name, dash, symbol) in CURVES.items():
        x, y = by_stage[stage]["round"].tolist(), (100 * by_stage[stage][part]).tolist()
        if stage == "pruned":
            x, y = [0, *x], [100 * float(first[part]), *y]
        data.append(_curve(name, x, y, COLOURS[stage], dash, symbol))
    solved = 100 * float(by_stage["adjusted"].iloc[0]["held_out"])
    data.append(_curve(SOLVED, [0, last], [solved, solved], COLOURS["dense"], "dash", "circle") | {"mode": "lines"})
    x, y = [0, *again["round"].tolist()], [0.0, *(100 * again["changed"]).tolist()]
    changed = _curve("mask changed", x, y, COLOURS["final"], "solid", "diamond")
    data.append(changed | {"yaxis": "y2", "showlegend": False})
    side = {"ticksuffix": " %", "rangemode": "tozero"}
    across = {"range": [-0.3, last + 0.3], "dtick": 1 if last <= 16 else 2, "anchor": "y2"}
    return style.figure(
        data,
        height=560,
        margin={"t": 8},
        xaxis=across | style.titled("round of the dense phase (0: after the first prune)"),
        yaxis=side | style.titled("output error") | {"domain": [0.4, 1]},
        yaxis2=side | style.titled("mask changed") | {"domain": [0, 0.28], "range": [0, max(LEAST, 1.15 * max(y))]},
        hovermode="x",
    )


def _curve(name: str, x: list[int], y: list[float], colour: str, dash: str, symbol: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "x": x,
        "y": y,
        "name": name,
        "line": {"color": colour, "dash": dash, "width": 2.5},
        "marker": {"symbol": symbol, "size": 8},
        "cliponaxis": False,
        "hovertemplate": "round %{x}: %{y:.2f} %<extra>%{fullData.name}</extra>",
    }
