"""From the plain dicts of `sds_core.figures` to charts on a page."""

from collections.abc import Callable
from typing import Any

import streamlit as st

CONFIG = {
    "displaylogo": False,
    "modeBarButtonsToRemove": ["lasso2d", "select2d", "autoScale2d"],
    "toImageButtonOptions": {"format": "png", "scale": 3, "filename": "sds"},
}


def show(figure: dict[str, Any], key: str, alt: str, clicked: Callable[[list], None] | None = None) -> None:
    """Draw a figure; `alt` says what it shows to those who cannot see it, `clicked` gets a clicked point's data."""
    import plotly.graph_objects as go

    def chosen() -> None:
        if clicked and (points := st.session_state[key].selection.points):
            clicked(points[0]["customdata"])

    st.plotly_chart(go.Figure(figure), key=key, config=CONFIG, alt=alt, on_select=chosen if clicked else "ignore")


def number(value: float) -> str:
    """A perplexity as people read it: two decimals, or three digits and a power where it has exploded."""
    return f"{value:,.2f}" if value < 1e6 else f"{value:.2e}"


def ratio(measured: dict[str, Any]) -> str:
    """The ratio to the dense model with its paired standard error, from a measurement in a run's result."""
    import math

    factor = math.exp(min(measured["log_ratio"], 600.0))
    return f"× {factor:.3f} ±\N{NO-BREAK SPACE}{factor * measured['error']:.3f}" if factor < 1e6 else f"× {factor:.1e}"
