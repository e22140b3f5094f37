"""The Walk's figures: those of the other pages, made for a projector and for one question each."""

from typing import Any

from sds_core.figures.style import STAGE_COLOURS, Figure
from sds_core.pruning.bins import JOINT, NEAR_ZERO

TALLEST = 430
"""Height of a figure in pixels: a projector of 720 lines shows it together with its answer."""
CORNER = 32
"""Rows and columns of the mask that are shown: few enough to see each from the back of a room."""


def low(figure: Figure, **layout: Any) -> Figure:
    """The figure no higher than `TALLEST`, with some of its layout replaced."""
    height = min(figure["layout"]["height"], TALLEST)
    return figure | {"layout": figure["layout"] | {"height": height} | layout}


def near_zero_marked(ridges: Figure) -> Figure:
    """A histogram with the weights near zero marked."""
    band = {"type": "rect", "x0": -NEAR_ZERO, "x1": NEAR_ZERO, "yref": "paper", "y0": 0, "y1": 1}
    look = {"line": {"width": 0}, "fillcolor": STAGE_COLOURS["sparse"], "opacity": 0.6}
    return low(ridges, height=260, shapes=[band | look])


def corner(crop: list[int], columns: int) -> tuple[list[int], int]:
    """The upper left `CORNER`² of a crop of two masks, row by row, and how wide it is.

    Args:
        crop: what `mask_crop` returns.
        columns: number of inputs of the layer.
    """
    stored = min(columns, JOINT)
    wide = min(stored, CORNER)
    starts = range(0, len(crop), stored)[:CORNER]
    return [code for start in starts for code in crop[start : start + wide]], wide


def from_its_end(figure: Figure | None) -> Figure:
    """A player that shows its last round at first, and all of them on ▶."""
    assert figure is not None, "an example of sds-admm holds rounds"
    last = figure["frames"][-1]["data"]
    slider = figure["layout"]["sliders"][0] | {"active": len(figure["frames"]) - 1}
    return low(figure, sliders=[slider]) | {"data": last + figure["data"][len(last) :]}


def beside_dense(forest: Figure) -> Figure:
    """Ratios to the dense model in the words of the question, which does not ask whether they are below 1."""
    across = forest["layout"]["xaxis"] | {"title": {"text": "perplexity, as a multiple of the dense model’s"}}
    return low(forest, xaxis=across, showlegend=False)
