"""Compare: which of the chosen runs is better, and whether that is sure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from pages.ui import cached, charts, chooser, layout, maps, progress
from sds_core.errors import SDSError

if TYPE_CHECKING:
    from sds_core.runs.compare import Row
    from sds_core.runs.outcomes import Outcome
    from sds_core.runs.references import Role
    from sds_core.runs.run_folder import Run

layout.routed()

REFERENCES: dict[Role, tuple[str, str]] = {
    "base": ("Against the base pruner alone", "Below 1, the method is better than the pruner that it starts from."),
    "control": (
        "Against the weights-only control",
        "The control keeps the base pruner’s mask and only solves for its weights. Below 1, a new mask was worth it.",
    ),
    "dense": ("Against the dense model", "What pruning costs: 1 would be the model before it was pruned."),
}


def excluded(reasons: dict[str, str]) -> None:
    """The chosen runs that are not compared, and why; the page is drawn anew when one that lives goes on."""
    if not reasons:
        return
    states = {name: cached.summary(name)["state"] for name in reasons}
    with st.container(border=True):
        st.markdown("**Not compared**")
        for name, reason in reasons.items():
            with st.container(horizontal=True, vertical_alignment="center"):
                progress.badge(states[name])
                st.page_link("pages/run.py", label=name, query_params={"run": name}, width="content")
                st.markdown(reason, width="content")
    if any(state in progress.LIVE for state in states.values()):
        wait(states)


@st.fragment(run_every=2)
def wait(states: dict[str, str]) -> None:
    """Look whether a run that was waited for has gone on."""
    if states != {name: cached.summary(name)["state"] for name in states}:
        st.rerun()


def say_which(rows: list[Row], known: list[Outcome]) -> None:
    """The answer in words."""
    from sds_core.runs.ranking import answer, rank

    found = rank([row.outcome for row in rows], known)
    for ranking in found:
        first, *more = answer(ranking, lambda name: f"**{layout.plain(name)}**")
        if len(found) == 1:
            st.markdown(f"##### {first}")
            st.markdown(" ".join(more))
        else:
            st.markdown(f"- {' '.join([first, *more])}")
    if not found:
        st.info(
            "Choose two or more finished runs with the same pattern to see which is better: "
            "runs that prune differently much are not ranked.",
            icon=":material/info:",
        )
    else:
        asked = rows[0].config  # what is paired was measured on the same
        st.caption(
            f"Measured on {layout.plain(asked.texts[1])}, {asked.eval_windows} windows of {asked.eval_length} tokens. "
            "± is the paired standard error over these windows, then the standard deviation over calibration seeds: of "
            "runs that differ in the seed alone, else of the shipped study. Sure is what lies beyond two standard "
            "errors of both together. Another text or another model may decide otherwise. Runs with different patterns "
            "are not ranked."
        )


def ratios(rows: list[Row], names: dict[str, str]) -> None:
    """A forest plot a reference."""
    from sds_core.figures import compare as figures
    from sds_core.runs.compare import reference_lines

    for reference, (title, meaning) in REFERENCES.items():
        if figure := figures.forest(rows, names, reference):
            st.subheader(title, anchor=False)
            charts.show(figure, f"forest_{reference}", f"Ratios of perplexity with their intervals. {title}")
            st.caption(f"{meaning} Bars and brackets reach two standard errors to either side.")
    for line in reference_lines(rows):
        st.caption(layout.plain(line))
    if not any("base" in row.against for row in rows):
        st.caption(
            "To see ratios to the base pruner, make its run too: the same pruner, pattern and calibration text. It "
            "need not be chosen above."
        )


def numbers(rows: list[Row], names: dict[str, str]) -> None:
    """All numbers as a table that sorts, and as a file."""
    import pandas as pd

    from sds_core.runs.compare import records

    frame_of_all = pd.DataFrame(records(rows))
    shown = pd.DataFrame({"run": [names[row.run] for row in rows], "perplexity": frame_of_all["perplexity"]})
    shown["pruned"] = 100 * frame_of_all["sparsity"]
    for name in ("dense", "base", "control"):
        ratio, windows, seeds = (
            pd.to_numeric(frame_of_all[f"{column}_{name}"]) for column in ("ratio", "window_error", "seed_error")
        )
        shown[f"× {name}"], shown[f"± {name}, windows"], shown[f"± {name}, seeds"] = (
            ratio,
            ratio * windows,
            ratio * seeds,
        )
    shown["id"] = frame_of_all["run"]
    st.subheader("The same in numbers", anchor=False)
    formats = {"perplexity": "%.2f", "pruned": "%.2f %%"} | {c: "%.3f" for c in shown if c[0] in "×±"}
    st.dataframe(
        shown.dropna(axis="columns", how="all"),  # without a control among the runs it would be a column of nothing
        placeholder="–",
        key="numbers",
        hide_index=True,
        column_config={name: st.column_config.NumberColumn(format=form) for name, form in formats.items()},
        alt="Perplexities and paired ratios of the chosen runs",
    )
    st.download_button(
        "Download as CSV",
        frame_of_all.to_csv(index=False).encode(),
        "comparison.csv",
        "text/csv",
        key="csv",
        icon=":material/download:",
        on_click="ignore",
    )


def curve(rows: list[Row]) -> None:
    """Perplexity against sparsity, if the chosen runs hold a sweep."""
    import dataclasses

    from sds_core.figures import compare as figures
    from sds_core.runs.compare import sweeps
    from sds_core.runs.names import called

    st.subheader("Perplexity against sparsity", anchor=False)
    found = sweeps(rows)
    if not found:
        st.caption(
            "Choose runs that differ only in their ratio, such as 30%, 50% and 70%: each command above with "
            "`--pattern 30%`, `--pattern 50%` and so on makes one."
        )
        return
    names = called({sweep[0].run: dataclasses.replace(sweep[0].config, pattern="50%") for sweep in found})
    figure = figures.sparsity_curves(found, [names[sweep[0].run] for sweep in found])
    charts.show(figure, "curve", "Perplexity against the share of pruned weights, a curve a method")
    st.caption("Bars are two standard errors of the ratio to the dense model. The scale is logarithmic.")


def opened(names: list[str]) -> list[Run]:
    """The runs of these names; one that cannot be opened is told."""
    from sds_core.runs.run_folder import Run, open_run

    found = list[Run]()
    for name in names:
        try:
            found.append(open_run(name))
        except SDSError as error:
            layout.refuse(error)
    return found


def together(runs: list[Run]) -> None:
    """Everything about the chosen runs."""
    from sds_core.runs.compare import names, side_by_side, sort_out
    from sds_core.runs.outcomes import finished_outcomes
    from sds_core.runs.sweep import commands

    kept, reasons = sort_out(runs)
    excluded(reasons)
    known = finished_outcomes()
    rows = side_by_side(kept, known)
    rows.sort(key=lambda row: (row.outcome.sparsity, row.config.pattern, row.perplexity))
    if not rows:
        st.info("None of the chosen runs is finished. Their results appear here.", icon=":material/info:")
        return
    called = names(rows)
    say_which(rows, known)
    ratios(rows, called)
    numbers(rows, called)
    st.markdown("The same runs on the command line:")
    st.code("\n".join(commands([row.config for row in rows])), language="bash", wrap_lines=True)
    curve(rows)
    if len(rows) > 1:
        maps.show(rows, called, known)


st.title("Which is better here, and is it sure?", anchor=False)
with st.spinner("Loading the engine …"):
    from sds_core.runs.run_folder import ids

    every = ids()
    lines = {name: cached.summary(name) for name in every}
if not every:
    st.info(
        "There are no runs yet. Start the demo on the Start page, or make runs on the Run page.",
        icon=":material/info:",
    )
    st.stop()
st.markdown("Choose the runs to compare by the boxes on the left; the address keeps the choice.")
if chosen := chooser.choose(every, lines):
    st.caption(f"{len(chosen)} of {len(every)} runs are chosen.")
    with st.spinner("Loading the engine …"):
        together(opened(chosen))
else:
    st.info("Choose two or more runs in the list above.", icon=":material/info:")
