"""The 8×8 example's grids as plain Plotly dicts: a number a cell, legible at the far end of a room."""

from typing import Any

from torch import Tensor

from sds_core.figures.layer import MARK, TEXT, Figure

INK = "#1B1F26"
FADED = "#868B94"
"""Numbers that lost: legible on both themes, where their cell is transparent."""
SIGNED = [[0, "#F0A45B"], [0.5, "#F5F2EB"], [1, "#82B1F7"]]
POSITIVE = [[0, "#E4EFE8"], [1, "#7CCBAE"]]
LOST, RETURNED = "#E07B00", "#3B82F6"
GAP = 0.25
"""Between groups of four columns, in columns."""
CELL, LABELS, TITLE = 31, 24, 30
"""Heights in pixels: of a row, of the column numbers, of the title above them."""


def grid(
    values: Tensor,
    title: str,
    *,
    signed: bool = True,
    faded: Tensor | None = None,
    lost: Tensor | None = None,
    returned: Tensor | None = None,
    row: int | None = None,
    column: int | None = None,
    numbered: bool = True,
    top: float | None = None,
) -> Figure:
    """A matrix with its numbers in its cells, a gap after every fourth column.

    Args:
        values: (R, C).
        title: stands above it.
        signed: two colours around zero instead of one from zero.
        faded: bool (R, C), cells without colour, such as pruned weights.
        lost, returned: bool (R, C), cells framed in orange or blue.
        row, column: framed as a whole, counted from 0.
        numbered: whether the columns have their numbers above them.
        top: the value of the strongest colour; the largest of all where there is none.
    """
    height, width = values.shape
    numbers = values.tolist()
    pale = faded.tolist() if faded is not None else [[False] * width] * height
    strongest = top or float(values.abs().max()) or 1.0
    across = [j + GAP * (j // 4) for j in range(width)]
    colour = {
        "type": "heatmap",
        **{"x": _edges(across), "y": list(range(height))},
        "z": [_with_gaps([None if pale[i][j] else numbers[i][j] for j in range(width)]) for i in range(height)],
        **{"colorscale": SIGNED if signed else POSITIVE, "zmin": -strongest if signed else 0, "zmax": strongest},
        **{"xgap": 2, "ygap": 2, "showscale": False, "hoverinfo": "skip"},
    }
    cells = [(i, j) for i in range(height) for j in range(width)]
    text = {
        "type": "scatter",
        "mode": "text",
        **{"x": [across[j] for _, j in cells], "y": [i for i, _ in cells]},
        "text": [written(numbers[i][j]) for i, j in cells],
        "textfont": {"size": TEXT, "color": [FADED if pale[i][j] else INK for i, j in cells]},
        "hovertemplate": "%{text}<extra></extra>",
    }
    frames = [shape for mask, ink in ((lost, LOST), (returned, RETURNED)) for shape in _frames(mask, across, ink)]
    if row is not None:
        frames += _box(-0.5, across[-1] + 0.5, row - 0.5, row + 0.5)
    if column is not None:
        frames += _box(across[column] - 0.5, across[column] + 0.5, -0.5, height - 0.5)
    return {"data": [colour, text], "layout": _layout(title, across, height, numbered) | {"shapes": frames}}


def written(value: float) -> str:
    """Two decimals, a true minus, and no zero with a sign."""
    text = f"{value:.2f}"
    return "0" if float(text) == 0 else text.replace("-", "−")


def _edges(across: list[float]) -> list[float]:
    """Left and right edges of the cells, the gaps being cells of their own."""
    inner = [edge for j in range(len(across)) if j and j % 4 == 0 for edge in (across[j - 1] + 0.5, across[j] - 0.5)]
    others = [across[j] - 0.5 for j in range(len(across)) if j % 4 or not j]
    return sorted([*others, *inner, across[-1] + 0.5])


def _with_gaps(row: list[float | None]) -> list[float | None]:
    """A row of values with nothing in its gaps."""
    return [cell for j, value in enumerate(row) for cell in ([None, value] if j and j % 4 == 0 else [value])]


def _layout(title: str, across: list[float], height: int, numbered: bool) -> dict[str, Any]:
    plain = {"showgrid": False, "zeroline": False, "fixedrange": True, "tickfont": {"size": TEXT - 1}, "ticks": ""}
    labels = LABELS if numbered else 0
    columns = {
        "showticklabels": numbered,
        "tickvals": across,
        "ticktext": [str(j + 1) for j in range(len(across))],
        "side": "top",
    }
    rows = {"tickvals": list(range(height)), "ticktext": [str(i + 1) for i in range(height)]}
    rows |= {"range": [height - 0.45, -0.55], "showticklabels": height > 1}
    return {
        "height": CELL * height + labels + TITLE,
        "margin": {"l": 26, "r": 6, "t": labels + TITLE - 4, "b": 4},
        "title": {"text": title, "font": {"size": TEXT + 1}, "x": 0, "y": 1, "yanchor": "top", "pad": {"t": 4}},
        "xaxis": plain | columns | {"range": [-0.55, across[-1] + 0.55]},
        "yaxis": plain | rows,
        **{"showlegend": False, "dragmode": False},
    }


def _frames(mask: Tensor | None, across: list[float], ink: str) -> list[dict[str, Any]]:
    if mask is None:
        return []
    places = mask.nonzero().tolist()
    return [
        {
            "type": "rect",
            **{"x0": across[j] - 0.46, "x1": across[j] + 0.46, "y0": i - 0.44, "y1": i + 0.44},
            "line": {"color": ink, "width": 3},
        }
        for i, j in places
    ]


def _box(x0: float, x1: float, y0: float, y1: float) -> list[dict[str, Any]]:
    """A dark edge under a bright one is seen on every colour."""
    box = {"type": "rect", "x0": x0, "x1": x1, "y0": y0, "y1": y1}
    return [box | {"line": {"color": ink, "width": width}} for ink, width in zip(MARK, (6, 3), strict=True)]
