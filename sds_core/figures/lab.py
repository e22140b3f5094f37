"""The Layer lab's curves as a plain Plotly dict."""

from typing import Any

import pandas as pd

from sds_core.figures.layer import COLOURS, TEXT, Figure

CURVES = {
    ("pruned", "held_out"): ("pruned again, held-out text", COLOURS["pruned"], "solid", "circle"),
    ("pruned", "seen"): ("pruned again, calibration text", COLOURS["pruned"], "dot", "circle-open"),
    ("redense", "held_out"): ("re-dense, held-out text", COLOURS["redense"], "solid", "square"),
    ("redense", "seen"): ("re-dense, calibration text", COLOURS["redense"], "dot", "square-open"),
}
REFERENCE = ("first prune, weights solved, held-out text", "#6E737B", "dash")
CHANGED = "#00A878"


def rounds(walk: pd.DataFrame) -> Figure:
    """Output errors at every round above, and below the share of the mask that its prune would change.

    Args:
        walk: what `lab.walk` returns.
    """
    first = walk[walk["stage"] == "sparse"].iloc[0]
    data = []
    for (stage, part), (name, colour, dash, symbol) in CURVES.items():
        found = walk[walk["stage"] == stage].sort_values("round")
        x, y = found["round"].tolist(), (100 * found[part]).tolist()
        if stage == "pruned":
            x, y = [0, *x], [100 * float(first[part]), *y]
        data.append(_curve(name, x, y, colour, dash, symbol))
    last = int(walk["round"].max())
    solved = 100 * float(walk[walk["stage"] == "adjusted"].iloc[0]["held_out"])
    name, colour, dash = REFERENCE
    data.append(_curve(name, [0, last], [solved, solved], colour, dash, "circle") | {"mode": "lines"})
    again = walk[walk["stage"] == "pruned"].sort_values("round")
    x, y = [0, *again["round"].tolist()], [0.0, *(100 * again["changed"]).tolist()]
    data.append(_curve("mask changed", x, y, CHANGED, "solid", "diamond") | {"yaxis": "y2", "showlegend": False})
    return {"data": data, "layout": _layout(last, max(5.0, 1.15 * max(y)))}


def _curve(name: str, x: list, y: list[float], colour: str, dash: str, symbol: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        **{"x": x, "y": y, "name": name},
        "line": {"color": colour, "dash": dash, "width": 2.5},
        "cliponaxis": False,
        "marker": {"symbol": symbol, "size": 8},
        "hovertemplate": "round %{x}: %{y:.2f} %<extra>" + name + "</extra>",
    }


def _layout(last: int, highest: float) -> dict[str, Any]:
    font = {"size": TEXT}
    side = {"ticksuffix": " %", "tickfont": font, "zeroline": False, "automargin": True, "rangemode": "tozero"}
    titled = lambda text: {"title": {"text": text, "font": font}}
    return {
        "height": 560,
        "margin": {"l": 8, "r": 8, "t": 8, "b": 8},
        "xaxis": {"range": [-0.3, last + 0.3], "dtick": 1 if last <= 16 else 2, "tickfont": font, "anchor": "y2"}
        | titled("round of the dense phase (0: after the first prune)"),
        "yaxis": side | titled("output error") | {"domain": [0.4, 1]},
        "yaxis2": side | titled("mask changed") | {"domain": [0, 0.28], "range": [0, highest]},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "font": font},
        "hovermode": "x",
    }
