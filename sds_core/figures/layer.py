"""Pictures of a run's record as plain Plotly dicts: drawn by the pages."""

from typing import Any

import pandas as pd

from sds_core.pruning.distribution import BINS, SPAN

STAGES = ("dense", "sparse", "redense", "final")
NAMES = {
    "dense": "dense",
    "sparse": "sparse",
    "redense": "re-dense",
    "final": "final",
    "pruned": "what its prune keeps",
}
COLOURS = {"dense": "#6E737B", "sparse": "#E07B00", "redense": "#3B82F6", "final": "#00A878", "pruned": "#E07B00"}
DASHES = {"dense": "solid", "sparse": "solid", "redense": "dash", "final": "dot", "pruned": "solid"}
HEADROOM = 1.7
"""Pictures are at most this many times as high as the dense peak; a higher peak is cut, and says so."""
SHOWN = 4.0
"""Dense standard deviations to either side that a picture shows at first; the rest is a zoom away."""
TEXT = 15
"""Size of letters, in pixels: legible at the far end of a room."""
SCALE = [[0, "#F2E9D8"], [0.25, "#F0BE7A"], [0.5, "#E0823D"], [0.75, "#A8432B"], [1, "#5A1A2B"]]
MARK = ("#111111", "#FFB000")
"""Frame of the chosen cell: a dark edge under a bright one is seen on every colour."""

Figure = dict[str, Any]


def centres() -> list[float]:
    """Middles of the histogram's bins, in dense standard deviations."""
    width = 2 * SPAN / BINS
    return [-SPAN + (i + 0.5) * width for i in range(BINS)]


def density(row: pd.Series) -> list[float]:
    """Share of all weights per dense standard deviation, bin by bin: the area under it is 1 minus the zeros."""
    total = sum(row["counts"]) + row["below"] + row["above"] + row["zeros"]
    return [float(count) / total * BINS / (2 * SPAN) for count in row["counts"]]


def zeros(row: pd.Series) -> float:
    """Share of weights that are exactly zero."""
    return float(row["zeros"]) / (sum(row["counts"]) + row["below"] + row["above"] + row["zeros"])


def ridges(layer: pd.DataFrame) -> Figure:
    """The stages of one layer under each other on one axis, each before the outline of the dense weight.

    Args:
        layer: the rows of a record that belong to the layer.
    """
    rows = {stage: row for stage in STAGES if (row := _row(layer, stage)) is not None}
    curves = {stage: density(row) for stage, row in rows.items()}
    top = height(list(curves.values()), curves.get("dense"))
    data, notes, axes = [], [], {}
    for i, (stage, curve) in enumerate(curves.items()):
        axis = f"y{i + 1}" if i else "y"
        axes[f"yaxis{i + 1}" if i else "yaxis"] = _hidden_axis(_slot(i, len(rows)), top)
        data.append(_filled(stage, curve, axis))
        if stage != "dense" and "dense" in curves:
            data.append(_outline("dense", curves["dense"], axis, width=1.5) | {"hoverinfo": "skip"})
        name = f"<b>{NAMES[stage]}</b>"
        coloured = name if stage == "dense" else f'<span style="color:{COLOURS[stage]}">{name}</span>'
        notes.append(_note(f"{coloured}<br>{100 * zeros(rows[stage]):.1f} % zeros", axis, 0.01, "left"))
        if cut := _share_above(curve, top):
            notes.append(_note(f"↑ {100 * cut:.0f} % of the weights", axis, 0.53, "left"))
    layout = base_layout(70 + 120 * len(rows)) | axes | {"annotations": notes, "showlegend": False}
    layout["xaxis"] = _weight_axis() | {"anchor": f"y{len(rows)}" if len(rows) > 1 else "y"}
    return {"data": data, "layout": layout}


def height(curves: list[list[float]], dense: list[float] | None) -> float:
    """Upper end of a density axis: the highest peak, but not far above the dense one."""
    highest = 1.08 * max(max(curve) for curve in curves)
    return min(highest, HEADROOM * max(dense)) if dense else highest


def player(layer: pd.DataFrame) -> Figure | None:
    """Phase 2 round by round: the re-dense weight and what its prune keeps; None if the record holds no rounds.

    Args:
        layer: the rows of a record that belong to the layer.
    """
    rounds = sorted({int(number) for number in layer["round"] if number > 0})
    if not rounds:
        return None
    pairs = {number: [_row(layer, stage, number) for stage in ("redense", "pruned")] for number in rounds}
    moving = {
        str(number): [_outline(row["stage"], density(row), "y", width=2.5) for row in pair if row is not None]
        for number, pair in pairs.items()
    }
    frames: list[dict[str, Any]] = [
        {"name": name, "data": traces, "traces": list(range(len(traces)))} for name, traces in moving.items()
    ]
    dense = _row(layer, "dense")
    fixed = [] if dense is None else [_outline("dense", density(dense), "y", width=1.5)]
    curves = [trace["y"] for traces in moving.values() for trace in traces]
    layout = base_layout(450) | _controls(rounds) | {"xaxis": _weight_axis() | {"anchor": "y"}}
    layout["yaxis"] = _hidden_axis([0, 1], height(curves, fixed[0]["y"] if fixed else None))
    layout["legend"] = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "font": {"size": TEXT}}
    return {"data": frames[0]["data"] + fixed, "frames": frames, "layout": layout}


def heatmap(losses: pd.DataFrame, chosen: tuple[int, str] | None = None) -> Figure:
    """Output error of every layer, blocks downwards, linears across; one cell may be framed.

    Plotly tells of clicks on points only, so every cell holds an invisible one, which also speaks when hovered over.

    Args:
        losses: columns `block`, `linear`, `loss`.
        chosen: block and linear of the framed cell.
    """
    blocks = sorted({int(block) for block in losses["block"]})
    linears = list(dict.fromkeys(losses["linear"]))
    found = {(int(b), c): float(v) for b, c, v in zip(losses["block"], losses["linear"], losses["loss"], strict=True)}
    values = [[100 * found[b, c] if (b, c) in found else None for c in linears] for b in blocks]
    few = len(blocks) <= 12
    trace = {
        "type": "heatmap",
        "z": values,
        **{"x": short_names(linears), "y": [str(block) for block in blocks]},
        "colorscale": SCALE,
        "zmin": min(0.0, *(100 * v for v in found.values())),
        **{"xgap": 1, "ygap": 1},
        "colorbar": {"ticksuffix": " %", "thickness": 14, "tickfont": {"size": TEXT - 1}}
        | {"title": {"text": "error", "font": {"size": TEXT}}},
        "hoverinfo": "skip",
    }
    if few:
        trace |= {"texttemplate": "%{z:.1f}", "textfont": {"size": TEXT - 1}}
    across = {"side": "top", "type": "category", "showgrid": False, "tickfont": {"size": TEXT}}
    down = {"type": "category", "autorange": "reversed", "showgrid": False, "dtick": 1 if few else 5}
    down |= {"title": {"text": "block", "font": {"size": TEXT}}, "tickfont": {"size": TEXT - 1}, "automargin": True}
    layout = base_layout(110 + (34 if few else 20) * len(blocks)) | {"xaxis": across, "yaxis": down, "dragmode": False}
    layout["hoverdistance"] = 100  # pixels: a cell is wider than its point
    if chosen and chosen[0] in blocks and chosen[1] in linears:
        layout["shapes"] = _frame_of(linears.index(chosen[1]), blocks.index(chosen[0]))
    return {"data": [trace, _points(found, linears)], "layout": layout}


def _points(found: dict[tuple[int, str], float], linears: list[str]) -> dict[str, Any]:
    """Invisible markers over the cells of a map, for clicks and hovering."""
    short = dict(zip(linears, short_names(linears), strict=True))
    unseen = {"marker": {"opacity": 0}}
    return {
        **{"type": "scatter", "mode": "markers", "showlegend": False, "selected": unseen, "unselected": unseen},
        **{"x": [short[linear] for _, linear in found], "y": [str(block) for block, _ in found]},
        "customdata": [[block, linear, 100 * loss] for (block, linear), loss in found.items()],
        "hovertemplate": "block %{y} · %{x}<br>error %{customdata[2]:.2f} %<extra></extra>",
        "marker": {"symbol": "square", "size": 18, "opacity": 0},
    }


def _row(layer: pd.DataFrame, stage: str, number: int = 0) -> pd.Series | None:
    found = layer[(layer["stage"] == stage) & (layer["round"] == number)]
    return None if found.empty else found.iloc[-1]


def _share_above(curve: list[float], top: float) -> float:
    """Share of all weights in the bins that rise above `top`."""
    return sum(value for value in curve if value > top) * 2 * SPAN / BINS


def short_names(labels: list[str]) -> list[str]:
    """The last word of each label, where that tells them apart."""
    last = [label.rpartition(".")[2] for label in labels]
    return last if len(set(last)) == len(labels) else labels


def _outline(stage: str, curve: list[float], axis: str, width: float) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "x": centres(),
        "y": curve,
        "yaxis": axis,
        "name": NAMES[stage],
        "line": {"color": COLOURS[stage], "dash": DASHES[stage], "width": width, "shape": "hvh"},
        "hovertemplate": "%{x:.2f} σ: %{y:.3f}<extra>" + NAMES[stage] + "</extra>",
    }


def _filled(stage: str, curve: list[float], axis: str) -> dict[str, Any]:
    """An area of its own row, which needs no dash to be told apart."""
    red, green, blue = (int(COLOURS[stage][i : i + 2], 16) for i in (1, 3, 5))
    area = {"fill": "tozeroy", "fillcolor": f"rgba({red},{green},{blue},0.4)"}
    trace = _outline(stage, curve, axis, width=2.5) | area
    return trace | {"line": trace["line"] | {"dash": "solid"}}


def _slot(i: int, of: int) -> list[float]:
    """Where the i-th of some rows lies between bottom (0) and top (1), with a gap above it."""
    return [1 - (i + 1) / of, 1 - i / of - 0.06 / of * (i > 0)]


def _hidden_axis(domain: list[float], height: float) -> dict[str, Any]:
    hidden = {"fixedrange": True, "showticklabels": False, "showgrid": False, "zerolinecolor": "#868B94"}
    return hidden | {"domain": domain, "range": [0, height], "zeroline": True}


def _weight_axis() -> dict[str, Any]:
    return {
        "range": [-SHOWN, SHOWN],
        "dtick": 1,
        "title": {"text": "weight, in standard deviations of the dense layer", "font": {"size": TEXT}},
        "tickfont": {"size": TEXT},
        "zeroline": False,
        "automargin": True,
    }


def _note(text: str, axis: str, x: float, anchor: str) -> dict[str, Any]:
    """Text in the upper part of a row."""
    across = {"xref": "x domain", "x": x, "xanchor": anchor, "align": anchor}
    down = {"yref": f"{axis} domain", "y": 0.95, "yanchor": "top"}
    return across | down | {"text": text, "font": {"size": TEXT + 1}, "showarrow": False}


def base_layout(height: int) -> dict[str, Any]:
    """Margins of every picture; the height is fixed so that nothing jumps while it loads."""
    return {"height": height, "margin": {"l": 8, "r": 8, "t": 36, "b": 8}, "hovermode": "closest"}


def _controls(rounds: list[int]) -> dict[str, Any]:
    """Play, pause and a slider that work in the browser, without a round trip."""
    now = {"mode": "immediate", "frame": {"duration": 0, "redraw": False}, "transition": {"duration": 0}}
    play = {"fromcurrent": True, "frame": {"duration": 700, "redraw": False}, "transition": {"duration": 0}}
    steps = [{"label": str(number), "method": "animate", "args": [[str(number)], now]} for number in rounds]
    slider = {
        "steps": steps,
        "currentvalue": {"prefix": "round ", "font": {"size": TEXT}},
        "font": {"size": TEXT - 1},
        "pad": {"t": 62, "l": 100},
    }
    button = {"method": "animate"}
    buttons = [button | {"label": "▶", "args": [None, play]}, button | {"label": "❚❚", "args": [[None], now]}]
    menu = {
        "type": "buttons",
        "direction": "left",
        **{"x": 0, "y": 0, "xanchor": "left", "yanchor": "top", "pad": {"t": 80, "r": 8}},
        **{"showactive": False, "font": {"color": "#222222", "size": TEXT}, "bgcolor": "#E8EBF0"},
        "buttons": buttons,
    }
    return {"sliders": [slider], "updatemenus": [menu]}


def _frame_of(column: int, row: int) -> list[dict[str, Any]]:
    box = {"type": "rect", "x0": column - 0.5, "x1": column + 0.5, "y0": row - 0.5, "y1": row + 0.5}
    return [box | {"line": {"color": colour, "width": width}} for colour, width in zip(MARK, (6, 3), strict=True)]
