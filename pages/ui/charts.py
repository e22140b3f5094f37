"""Draw the plain dicts of `sds_core.figures` on a page."""

from collections.abc import Callable

import streamlit as st

from sds_core.figures import style
from sds_core.pruning.perplexity import Comparison, format_ratio

CONFIG = {
    "displaylogo": False,
    "modeBarButtonsToRemove": ["lasso2d", "select2d", "autoScale2d"],
    "toImageButtonOptions": {"format": "png", "scale": 3, "filename": "sds"},
}


def show(figure: style.Figure, key: str, alt: str, clicked: Callable[[list], None] | None = None) -> None:
    """Draw a figure.

    Args:
        figure: what to draw.
        key: of the widget.
        alt: what it shows, for those who cannot see it.
        clicked: gets the `customdata` of a clicked point.
    """
    import plotly.graph_objects as go  # takes half a second: not before the first chart

    def chosen() -> None:
        if clicked and (points := st.session_state[key].selection.points):
            clicked(points[0]["customdata"])

    drawn = go.Figure(style.explicit(figure))
    st.plotly_chart(drawn, key=key, config=CONFIG, alt=alt, on_select=chosen if clicked else "ignore")


def ratio(paired: Comparison) -> str:
    """Format a ratio of perplexities with its paired standard error."""
    return "× " + format_ratio(paired.log_ratio, paired.error).replace("± ", "±\N{NO-BREAK SPACE}")
