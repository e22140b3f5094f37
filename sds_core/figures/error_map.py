"""The map of a run's output errors, layer by layer."""

import re
from typing import Any

import pandas as pd

from sds_core.figures import style
from sds_core.figures.style import Figure

FEW = 12
"""Up to this many blocks, a map numbers every block and has room for a number in every cell."""
EXPERT = re.compile(r"\.\d+\.")
"""An expert's number inside a label."""


def error_map(losses: pd.DataFrame, chosen: tuple[int, str] | None = None) -> Figure:
    """Draw the output error of every layer, blocks downwards, linears across; one cell may be framed.

    The experts of a block share a cell for each projection: it shows their mean, and on hovering their range. Plotly
    reports clicks on points only, so every cell holds an invisible one, which also shows the tooltip.

    Args:
        losses: columns `block`, `linear`, `loss`.
        chosen: block and linear of the framed cell.
    """
    losses = _folded(losses)
    chosen = chosen and (chosen[0], EXPERT.sub(".*.", chosen[1]))
    blocks, linears = _blocks(losses), list(dict.fromkeys(losses["linear"]))
    values = _matrix(losses, blocks, linears)
    cells = _cells(values, blocks, linears) | {
        "zmin": min(0.0, *(value for row in values for value in row if value is not None)),
        "colorscale": style.ERRORS,
        "colorbar": style.titled("error") | {"ticksuffix": " %"},
        "hoverinfo": "skip",
    }
    if len(blocks) <= FEW:
        cells["texttemplate"] = "%{z:.1f}"
    frame = []
    if chosen and chosen[0] in blocks and chosen[1] in linears:
        column, row = linears.index(chosen[1]), blocks.index(chosen[0])
        frame = style.marked(column - 0.5, column + 0.5, row - 0.5, row + 0.5)
    return style.figure(
        [cells, _points(losses, linears)],
        height=110 + (34 if len(blocks) <= FEW else 20) * len(blocks),
        xaxis={"type": "category", "range": [-0.5, len(linears) - 0.5], "side": "top", "showgrid": False},
        yaxis=_block_axis(blocks),
        shapes=frame,
        dragmode=False,
        hoverdistance=100,  # pixels: a cell is wider than its point
    )


def _folded(losses: pd.DataFrame) -> pd.DataFrame:
    """Return a row a cell: `block`, `linear`, `loss`, and the `lowest` and `highest` where several layers share it."""
    cells = losses[["block", "linear", "loss"]].assign(linear=losses["linear"].str.replace(EXPERT, ".*.", regex=True))
    grouped = cells.groupby(["block", "linear"], sort=False)["loss"]
    return grouped.agg(loss="mean", lowest="min", highest="max").reset_index()


def _blocks(losses: pd.DataFrame) -> list[int]:
    return sorted({int(block) for block in losses["block"]})


def _matrix(losses: pd.DataFrame, blocks: list[int], linears: list[str]) -> list[list[float | None]]:
    """Losses in per cent, a row a block; None where a layer is missing."""
    known = {(int(b), c): float(v) for b, c, v in zip(losses["block"], losses["linear"], losses["loss"], strict=True)}
    return [[100 * known[b, c] if (b, c) in known else None for c in linears] for b in blocks]


def _cells(values: list[list[float | None]], blocks: list[int], linears: list[str]) -> dict[str, Any]:
    shown = {"x": style.short_names(linears), "y": [str(block) for block in blocks], "z": values}
    return {"type": "heatmap", "xgap": 1, "ygap": 1} | shown


def _block_axis(blocks: list[int]) -> dict[str, Any]:
    """Return the axis of blocks, downwards; its range is explicit, since markers would widen it beyond the cells."""
    axis = {"type": "category", "range": [len(blocks) - 0.5, -0.5], "dtick": 1 if len(blocks) <= FEW else 5}
    return style.titled("block") | axis | {"showgrid": False}


def _points(losses: pd.DataFrame, linears: list[str]) -> dict[str, Any]:
    """Invisible markers over the cells of a map, for clicks and hovering."""
    short = dict(zip(linears, style.short_names(linears), strict=True))
    unseen = {"marker": {"opacity": 0}}
    columns = [100 * losses[name].map(float) for name in ("loss", "lowest", "highest")]
    cells = list(zip(losses["block"].map(int), losses["linear"], *columns, strict=True))
    ranges = [f"<br>experts {low:.2f} to {high:.2f} %" if "*" in name else "" for _, name, _, low, high in cells]
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [short[linear] for _, linear, *_ in cells],
        "y": [str(block) for block, *_ in cells],
        "customdata": [list(cell[:3]) for cell in cells],
        "text": ranges,
        "hovertemplate": "block %{y} · %{x}<br>error %{customdata[2]:.2f} %%{text}<extra></extra>",
        "marker": {"symbol": "square", "size": 18, "opacity": 0},
        "selected": unseen,
        "unselected": unseen,
        "showlegend": False,
    }
