"""One run in words: its progress or result, its note, and the tools around it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from pages.ui import charts, layout, progress, run_panel
from sds_core.pruning.perplexity import format_perplexity
from sds_core.pruning.stages import STAGE_NAMES

if TYPE_CHECKING:
    from sds_core.options import Overrides
    from sds_core.runs.run_folder import Run
    from sds_core.runs.run_result import RunResult

CHOSEN = {
    "second prune": "the second prune",
    "first prune": "the first prune, its weights solved for",
    "adjusted": "the adjusted weights",
}


def show(run: Run, changes: Overrides) -> None:
    """Show a run and what can be done with it.

    Args:
        run: the run.
        changes: the working options to resume it with, where they are not its own.

    Raises:
        SDSError: its record is broken.
    """
    from sds_core.runs.run_command import command

    config, state = run.config, run.state()
    with st.container(horizontal=True, vertical_alignment="center"):
        progress.badge(state)
        st.markdown(run_panel.about(config), width="content")
        st.caption(run.id, width="content")
    if state == "finished":
        results(run.finished_result(), bool(config.held_out))
    else:
        progress.follow(run, state)
        if state not in progress.LIVE:
            progress.explain(run, state, changes)
    st.code(command(config), language=None, wrap_lines=True)
    run_panel.show_excluded(run)
    run_panel.edit_note(run)
    if state not in progress.LIVE:
        run_panel.tools(run, state)


def results(result: RunResult, held_out: bool) -> None:
    """Show a result in numbers.

    Args:
        result: the finished run's.
        held_out: whether blocks were judged on windows that no solver saw.
    """
    with st.container(horizontal=True):
        for stage, measured in result.perplexity.items():
            st.metric(
                f"Perplexity, {STAGE_NAMES[stage]}",
                format_perplexity(measured.value),
                None if stage == "dense" else charts.ratio(measured.against_dense),
                delta_color="off",
                delta_arrow="off",
                width=142,
            )
        st.metric(
            "Pruned weights",
            f"{100 * result.sparsity:.2f} %",
            f"{100 * result.model_sparsity:.2f} % of all",
            delta_color="off",
            delta_arrow="off",
            width=142,
        )
    st.caption(
        f"× is the ratio to the dense model on the same windows, ± its paired standard error. Pruned are "
        f"{result.pruned:,} of {result.prunable:,} prunable weights; the model has {result.total:,} in all, of which "
        f"{100 * result.zero_share:.2f} % are exactly zero."
    )
    _sentences(result, held_out)


def _sentences(result: RunResult, held_out: bool) -> None:
    """Say what there is to say beside the numbers."""
    if result.experts:
        st.markdown(result.experts)
    if result.chosen:
        counts = " and ".join(
            f"{CHOSEN.get(name) or layout.plain(name)} in {count} {'layer' if count == 1 else 'layers'}"
            for name, count in sorted(result.chosen.items(), key=lambda item: -item[1])
        )
        st.markdown(f"Kept as the final weights: {counts}.")
    if result.distillation:
        st.markdown(result.distillation.sentence)
    if change := result.reconstruction:
        judged = "windows that were held out" if held_out else "the very windows that they were adjusted on"
        st.markdown(
            f"Adjusting the layers of a block together helped {change.improved} of {change.of}: on {judged}, the "
            f"output error of all went from {100 * change.before:.2f} % to {100 * change.after:.2f} % on average."
        )
