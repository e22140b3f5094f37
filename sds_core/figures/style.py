"""The look that all figures share: names of the stages, palette, and one Plotly template."""

from typing import Any

from sds_core.figures.markup import plotly
from sds_core.figures.palette import palette

Figure = dict[str, Any]
"""A Plotly figure as plain values: `data` and `layout`."""

STAGE_COLOURS = {stage: light for stage, (light, _) in palette().stages.items()}
"""The palette's colours for a light page, which a dark one shows too: Plotly does not know the page's theme."""
RUN_COLOURS = [light for light, _ in palette().others]
QUIET = "#868B94"
"""For the background: reference lines, differences that may be chance."""
MARK = ("#111111", "#FFB000")
"""Frame of a chosen cell: a dark edge under a bright one shows on every colour."""

ERRORS = [[0, "#F2E9D8"], [0.25, "#F0BE7A"], [0.5, "#E0823D"], [0.75, "#A8432B"], [1, "#5A1A2B"]]
"""Colour scale of output errors."""

TEXT = 15
"""Size of letters in pixels: legible at the far end of a room."""
_FONT = {"font": {"size": TEXT}}
_AXIS = {"title": _FONT, "tickfont": {"size": TEXT}, "zeroline": False, "automargin": True}
_COLORBAR = {"title": _FONT, "tickfont": {"size": TEXT}, "thickness": 14}

TEMPLATE: dict[str, Any] = {
    "layout": {
        "font": {"size": TEXT},
        "margin": {"l": 8, "r": 8, "t": 36, "b": 8},
        "hovermode": "closest",
        "hoverlabel": {"namelength": -1},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"} | _FONT,
        "xaxis": _AXIS,
        "yaxis": _AXIS,
        "coloraxis": {"colorbar": _COLORBAR},
        "annotationdefaults": {"showarrow": False} | _FONT,
    },
    "data": {"heatmap": [{"colorbar": _COLORBAR, "hoverongaps": False}]},
}


def figure(data: list[dict[str, Any]], /, **layout: Any) -> Figure:
    """Return a figure on the template, with its own `layout`; the height is fixed, so that pages do not jump."""
    assert "height" in layout
    return {"data": data, "layout": {"template": TEMPLATE, **layout}}


def explicit(drawn: Figure) -> Figure:
    """Return the figure with its template written into its layout.

    Streamlit's theme overrides a figure's template, letter sizes and margins included, but not its layout.
    """
    template, layout = drawn["layout"]["template"]["layout"], dict(drawn["layout"])
    for name in {*template, *layout}:
        default = template.get(name.rstrip("0123456789"))  # of xaxis2, that of xaxis
        if isinstance(default, dict) and not name.endswith("defaults"):
            layout[name] = _over(default, layout.get(name, {}))
        elif default is not None:
            layout.setdefault(name, default)
    return drawn | {"layout": layout}


def _over(default: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Merge nested dicts; `own` overrides `default`."""
    both = {name: _over(default[name], own[name]) for name in default if isinstance(own.get(name), dict)}
    return default | own | both


def per_cent(share: float, digits: int = 1) -> str:
    """Format a share in per cent; a non-zero share never reads as zero."""
    least = 10.0**-digits
    if 0 < 100 * share < least / 2:
        return f"<{least:.{digits}f}\N{NO-BREAK SPACE}%"
    return f"{100 * share:.{digits}f}\N{NO-BREAK SPACE}%"


def see_through(colour: str, opacity: float) -> str:
    """Return a colour of the palette in CSS, with an opacity."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, {opacity:.2f})"


def titled(text: str) -> dict[str, Any]:
    """The title of an axis or a colour bar."""
    return {"title": {"text": text}}


def marked(x0: float, x1: float, y0: float, y1: float) -> list[dict[str, Any]]:
    """The shapes that frame a chosen part of a figure."""
    box = {"type": "rect", "x0": x0, "x1": x1, "y0": y0, "y1": y1}
    return [box | {"line": {"color": colour, "width": width}} for colour, width in zip(MARK, (6, 3), strict=True)]


def short_names(labels: list[str]) -> list[str]:
    """Return the last part of each dotted label if these differ, else the whole labels; escaped for an axis."""
    last = [label.rpartition(".")[2] for label in labels]
    return [plotly(label) for label in (last if len(set(last)) == len(labels) else labels)]
