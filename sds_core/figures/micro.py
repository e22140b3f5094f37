"""The 8×8 example's grids: a number in every cell, legible at the far end of a room."""

from typing import Any

from torch import Tensor

from sds_core.figures import style
from sds_core.figures.style import TEXT, Figure

INK = "#1B1F26"
"""Numbers on a coloured cell; those without a colour are `style.QUIET`, which both themes show."""
GROUP = 4
GAP = 0.25
"""Between groups of columns, in columns."""
LABELS, TITLE = 24, 30
"""Heights in pixels: of the column numbers, of the title above them."""


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
    cell: int = 46,
) -> Figure:
    """A matrix with its numbers in its cells, and a gap after every fourth column.

    Args:
        values: (R, C).
        title: stands above it.
        signed: two colours around zero instead of one from zero.
        faded: bool (R, C), cells without colour, such as pruned weights.
        lost, returned: bool (R, C), cells framed in orange or blue.
        row, column: framed as a whole, counted from 0.
        numbered: whether the columns have their numbers above them.
        cell: height of a row in pixels.
    """
    height, width = values.shape
    across = [j + GAP * (j // GROUP) for j in range(width)]
    pale = faded.tolist() if faded is not None else [[False] * width] * height
    frames = _frames(lost, across, style.LOST) + _frames(returned, across, style.RETURNED)
    if row is not None:
        frames += style.marked(-0.5, across[-1] + 0.5, row - 0.5, row + 0.5)
    if column is not None:
        frames += style.marked(across[column] - 0.5, across[column] + 0.5, -0.5, height - 0.5)
    return style.figure(
        [_colours(values, across, pale, signed), _numbers(values, across, pale)],
        height=cell * height + (LABELS if numbered else 0) + TITLE,
        margin={"l": 26, "r": 6, "t": (LABELS if numbered else 0) + TITLE - 4, "b": 4},
        title={"text": title, "font": {"size": TEXT + 1}, "x": 0, "y": 1, "yanchor": "top", "pad": {"t": 4}},
        shapes=frames,
        showlegend=False,
        dragmode=False,
        **_axes(across, height, numbered),
    )


def written(value: float) -> str:
    """Two decimals, a true minus, and no zero with a sign."""
    text = f"{value:.2f}"
    return "0" if float(text) == 0 else text.replace("-", "−")


def _colours(values: Tensor, across: list[float], pale: list[list[bool]], signed: bool) -> dict[str, Any]:
    strongest = float(values.abs().max()) or 1.0
    shown = [
        [None if faded else value for value, faded in zip(numbers, row, strict=True)]
        for numbers, row in zip(values.tolist(), pale, strict=True)
    ]
    return {
        "type": "heatmap",
        "x": _edges(across),
        "y": list(range(len(shown))),
        "z": [_with_gaps(row) for row in shown],
        "colorscale": style.SIGNED if signed else style.POSITIVE,
        "zmin": -strongest if signed else 0,
        "zmax": strongest,
        "xgap": 2,
        "ygap": 2,
        "showscale": False,
        "hoverinfo": "skip",
    }


def _numbers(values: Tensor, across: list[float], pale: list[list[bool]]) -> dict[str, Any]:
    cells = [(i, j, value) for i, row in enumerate(values.tolist()) for j, value in enumerate(row)]
    return {
        "type": "scatter",
        "mode": "text",
        "x": [across[j] for _, j, _ in cells],
        "y": [i for i, _, _ in cells],
        "text": [written(value) for _, _, value in cells],
        "textfont": {"size": TEXT, "color": [style.QUIET if pale[i][j] else INK for i, j, _ in cells]},
        "hovertemplate": "%{text}<extra></extra>",
    }


def _edges(across: list[float]) -> list[float]:
    """Left and right edges of the cells; the gaps are cells too."""
    edges = [across[0] - 0.5]
    for j, middle in enumerate(across):
        if j and j % GROUP == 0:
            edges.append(middle - 0.5)
        edges.append(middle + 0.5)
    return edges


def _with_gaps(row: list[float | None]) -> list[float | None]:
    """A row of values with nothing in its gaps."""
    return [cell for j, value in enumerate(row) for cell in ([None, value] if j and j % GROUP == 0 else [value])]


def _axes(across: list[float], height: int, numbered: bool) -> dict[str, dict[str, Any]]:
    plain = {"showgrid": False, "fixedrange": True, "automargin": False, "ticks": ""}
    columns = {"tickvals": across, "ticktext": [str(j + 1) for j in range(len(across))], "side": "top"}
    rows = {"tickvals": list(range(height)), "ticktext": [str(i + 1) for i in range(height)]}
    return {
        "xaxis": plain | columns | {"range": [-0.55, across[-1] + 0.55], "showticklabels": numbered},
        "yaxis": plain | rows | {"range": [height - 0.4, -0.6], "showticklabels": height > 1},
    }


def _frames(mask: Tensor | None, across: list[float], colour: str) -> list[dict[str, Any]]:
    """A frame in each cell that the mask holds."""
    frame = {"type": "rect", "line": {"color": colour, "width": 3}}
    return [
        frame | {"x0": across[j] - 0.46, "x1": across[j] + 0.46, "y0": i - 0.44, "y1": i + 0.44}
        for i, j in (mask.nonzero().tolist() if mask is not None else [])
    ]
