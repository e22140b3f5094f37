"""Where in the model two runs differ: the output errors of all layers, side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from pages.ui import cached, charts, layout, studio_details
from sds_core.errors import SDSError
from sds_core.runs.run_folder import open_run

if TYPE_CHECKING:
    import pandas as pd

    from sds_core.runs.compare import Row
    from sds_core.runs.outcomes import Outcome


def _turn_to_pair() -> None:
    """A select box has changed: another pair of runs on the maps."""
    for letter in "ab":
        st.query_params[letter] = st.session_state[f"map-{letter}"]


def show(rows: list[Row], names: dict[str, str], known: list[Outcome]) -> None:
    """Where two runs differ: output errors of all layers on one scale. At first the best run and the next best."""
    from sds_core.runs.ranking import rank

    st.subheader("Where in the model they differ", anchor=False)
    ordered = [row.run for row in rows]
    ranked = max(rank([row.outcome for row in rows], known), key=lambda ranking: len(ranking.groups), default=None)
    best = [group.outcomes[0].run for group in ranked.groups] if ranked else []
    pair = best[:2] if len(best) > 1 else ordered[:2]
    by_default = dict(zip("ab", pair, strict=True))
    with st.container(horizontal=True):
        for letter, default in by_default.items():
            asked = st.query_params.get(letter, default)
            if asked not in ordered:
                layout.refuse(f"“{asked[:60]}” is not among the compared runs; here is another")
                asked = default
            st.session_state[f"map-{letter}"] = asked
            label = f"Run {letter.upper()}"
            st.selectbox(
                label, ordered, format_func=names.__getitem__, key=f"map-{letter}", on_change=_turn_to_pair, width=360
            )
    first_row, second_row = (
        next(row for row in rows if row.run == st.session_state[f"map-{letter}"]) for letter in "ab"
    )
    try:
        first, second = _errors(first_row), _errors(second_row)
    except SDSError as error:
        layout.refuse(error)
        return
    if first.empty or second.empty:
        st.info("One of these runs has no record of its layers.", icon=":material/info:")
        return
    _draw(first, second, layout.plain(names[first_row.run]))
    if any(row.config.made_method().block_epochs for row in (first_row, second_row)):
        st.caption(
            "Where whole blocks were adjusted, errors of single layers may have grown for the good of their block: the "
            "perplexity tells which model is better, not this map."
        )
    with st.container(horizontal=True):
        for letter, row in zip("AB", (first_row, second_row), strict=True):
            st.page_link(
                "pages/studio.py",
                label=f"Look into the layers of run {letter}",
                icon=":material/bar_chart:",
                query_params=studio_details.address(open_run(row.run)),
                width="content",
            )


def _errors(row: Row) -> pd.DataFrame:
    """Output errors of a run's last weights, a row a layer.

    Raises:
        SDSError: the record is broken.
    """
    from sds_core.runs.run_folder import open_run

    record = cached.record(open_run(row.run))
    if record.empty:
        return record
    last = row.config.written_by(row.config.phases[-1])
    return record[(record["stage"] == last) & (record["round"] == 0)].sort_values("block", kind="stable")


def _draw(first: pd.DataFrame, second: pd.DataFrame, name: str) -> None:
    """The maps, and in words how many layers A does better."""
    from sds_core.figures.error_map import difference_maps

    both = first.merge(second, on=["block", "linear"])
    lower = int((both["loss_x"] < both["loss_y"]).sum())
    st.markdown(f"A, {name}, has the lower output error in **{lower} of {len(both)}** layers.")
    charts.show(
        difference_maps(first, second),
        "maps",
        "Output error of every layer in run A, in run B, and their difference, by block and linear",
    )
    st.caption(
        "Each layer’s output error is measured on that run’s own inputs to the layer, relative to its output. In the "
        "third map, blue is where A is better and red where B is."
    )
