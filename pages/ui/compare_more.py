"""Below Compare's picture: the numbers as a table and a file, commands, sweeps, and the runs left out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import streamlit as st

from pages.ui import cached, charts, layout, progress
from pages.ui.compare_choice import Choice, add_more
from pages.ui.run_panel import MANAGED
from sds_core.comparison.compare import Row, names, records, reference_lines, sweeps
from sds_core.comparison.outcomes import Outcome
from sds_core.comparison.ranking import answer, rank
from sds_core.comparison.references import references
from sds_core.figures import compare as figures
from sds_core.runs.names import called
from sds_core.runs.sweep import commands


def show(choice: Choice, known: list[Outcome]) -> None:
    """Show them, below the fold."""
    rows = [Row(one, references(one, known)) for group in choice.chosen for one in group.outcomes]
    configurations = {row.outcome.configuration for row in rows}
    rows.sort(key=lambda row: (row.outcome.sparsity, row.config.pattern, row.perplexity))
    add_more(choice)
    if choice.excluded:
        _excluded(choice.excluded)
    if not rows:
        return
    compared = [one for one in choice.outcomes if one.configuration in configurations]
    _part(
        "numbers",
        "All numbers, against dense, base pruner and control",
        "table",
        lambda: _numbers(rows, compared, known),
    )
    _part("chart", "One chart to take along, as PNG", "photo_camera", lambda: _chart(rows))
    _part("commands", "The same runs on the command line", "terminal", lambda: _commands(rows))
    if found := sweeps(rows):
        with st.expander("Perplexity against sparsity", icon=":material/show_chart:", expanded=True):
            _curve(found)


def _part(name: str, label: str, icon: str, draw: Callable[[], None]) -> None:
    """Draw what belongs below a heading once it is opened: tables and charts are the heaviest scripts in the app."""
    part = st.expander(label, key=f"compare-{name}", icon=f":material/{icon}:", on_change="rerun")
    if part.open:
        with part:
            draw()


def _excluded(reasons: dict[str, str]) -> None:
    """Show the runs that are not compared, and why; redraw the page when the state of a live one changes."""
    lines = {name: cached.run_line(name) for name in reasons}
    with st.expander(f"Not compared: {len(reasons)}", icon=":material/block:"):
        for name, reason in reasons.items():
            with st.container(horizontal=True, vertical_alignment="center"):
                progress.badge(lines[name].state)
                config = lines[name].config
                label = str(config.get("title") or config.get("experiment") or name)
                st.page_link(
                    "pages/studio.py",
                    label=layout.plain(label),
                    query_params=layout.onward({MANAGED: name}),
                    width="content",
                )
                st.markdown(layout.plain(reason), width="content")
    states = {name: line.state for name, line in lines.items()}
    if any(state in progress.LIVE for state in states.values()):
        _wait(states)


@st.fragment(run_every=2)
def _wait(states: dict[str, str]) -> None:
    """Redraw the page when a run's state has changed."""
    if states != {name: cached.run_line(name).state for name in states}:
        st.rerun()


def _numbers(rows: list[Row], compared: list[Outcome], known: list[Outcome]) -> None:
    """Show the ranking in words, and all numbers as a table that sorts and as a file."""
    import pandas as pd  # takes half a second: not before the table is opened

    for ranking in rank(compared, known):
        st.markdown(" ".join(answer(ranking, lambda name: f"**{layout.plain(name)}**")))
    frame, title = pd.DataFrame(records(rows)), names(rows)
    shown = pd.DataFrame({"run": [title[row.run] for row in rows], "perplexity": frame["perplexity"]})
    shown["pruned"] = 100 * frame["sparsity"]
    for name in ("dense", "base", "control"):
        ratio, windows, seeds = (
            pd.to_numeric(frame[f"{column}_{name}"]) for column in ("ratio", "window_error", "seed_error")
        )
        columns = (ratio, ratio * windows, ratio * seeds)
        shown[f"× {name}"], shown[f"± {name}, windows"], shown[f"± {name}, seeds"] = columns
    shown["id"] = frame["run"]
    formats = {"perplexity": "%.2f", "pruned": "%.2f %%"} | {c: "%.3f" for c in shown if c[0] in "×±"}
    st.dataframe(
        shown.dropna(axis="columns", how="all"),  # without a control among the runs its columns are empty
        placeholder="–",
        key="numbers",
        hide_index=True,
        column_config={name: st.column_config.NumberColumn(format=form) for name, form in formats.items()},
        alt="Perplexities and paired ratios of the chosen runs",
    )
    for line in reference_lines(rows):
        st.caption(layout.plain(line))
    st.download_button(
        "Download as CSV",
        frame.to_csv(index=False).encode(),
        "comparison.csv",
        "text/csv",
        key="csv",
        icon=":material/download:",
        on_click="ignore",
    )


def _chart(rows: list[Row]) -> None:
    """Show the perplexities as a chart that can be saved."""
    title = names(rows)
    figure = figures.perplexities(rows, [title[row.run] for row in rows])
    charts.show(figure, "perplexities", "The perplexity of every chosen run, and that of the dense model")
    st.caption(
        "Bars are two standard errors of the ratio to the dense model. The camera above the chart saves it as PNG, "
        "three times as large as here."
    )


def _commands(rows: list[Row]) -> None:
    """Show the command lines that repeat the runs."""
    st.code("\n".join(commands([row.config for row in rows])), language=None, wrap_lines=True)


def _curve(found: list[list[Row]]) -> None:
    """Show perplexity against sparsity."""
    titles = called({sweep[0].run: dataclasses.replace(sweep[0].config, pattern="50%") for sweep in found})
    figure = figures.sparsity_curves(found, [titles[sweep[0].run] for sweep in found])
    charts.show(figure, "curve", "Perplexity against the share of pruned weights, a curve per method")
    st.caption("Bars are two standard errors of the ratio to the dense model. The scale is logarithmic.")
