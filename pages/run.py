"""Run: choose what to do, start it, watch it, and see what came out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import streamlit as st

from pages.ui import cached, charts, layout, options, progress, run_panel, studio_details
from sds_core.errors import SDSError
from sds_core.pruning.stages import STAGE_NAMES

if TYPE_CHECKING:
    from sds_core.pruning.registry import PrunerRegistry
    from sds_core.runs.config import RunConfig
    from sds_core.runs.run_folder import Run

layout.routed()

LISTED = 10
"""Runs in the list before one asks for all of them."""
CHOSEN = {
    "second prune": "the second prune",
    "first prune": "the first prune, its weights solved for",
    "adjusted": "the adjusted weights",
}


def begin(config: RunConfig) -> None:
    """Make a run and start it; its id goes into the address."""
    from sds_core.runs.new_run import create
    from sds_core.runs.plugins import load_registry

    try:
        run = create(config, load_registry([config.pruner]))
    except SDSError as error:
        st.session_state["refused"] = str(error)
        return
    st.query_params["run"] = st.session_state["options of"] = run.id
    progress.start(run)


def show(run: str) -> None:
    """Turn to another run."""
    st.query_params["run"] = run


def configured(chosen: dict[str, Any], pruners: PrunerRegistry) -> tuple[RunConfig | None, str]:
    """The chosen values as a configuration, or why they are not one."""
    from sds_core.runs.config import RunConfig

    try:
        config = RunConfig.from_dict(chosen)
        pruners.require(config.pruner, config.pruner_sha256)
        return config, ""
    except SDSError as error:
        return None, str(error)


def branched(chosen: dict[str, Any], run: Run | None, phase: int) -> tuple[RunConfig | None, str]:
    """The configuration of a phase that goes on from the shown run, or why there is none."""
    from sds_core.runs.branch import as_parent, branch

    if run is None:
        return None, f"Open a run that has finished phase {phase - 1}."
    try:
        parent, before = as_parent(run, phase), run.config
        if chosen["method"] == before.method:
            # A branch inherits its parent's options; one set back to its default here must win over that.
            defaults = vars(before.made_method().__class__())
            inherited = {name: defaults[name] for name in before.options}
            chosen = chosen | {"options": inherited | chosen["options"]}
        return branch(before, {k: v for k, v in chosen.items() if k != "schedule"}, parent), ""
    except SDSError as error:
        return None, str(error)


def offer(run: Run | None, pruners: PrunerRegistry) -> None:
    """Options, the equivalent command line, and the buttons that start."""
    with st.expander("Options of a new run", expanded=run is None):
        chosen = options.choose(pruners.names)
        run_panel.own_text()
    config, fault = configured(chosen, pruners)
    if config:
        st.code(config.command(), language="bash", wrap_lines=True)
        st.caption(run_panel.forecast(config))
    else:
        layout.refuse(fault)
    first = configured(chosen | {"schedule": "staged", "phase": 1}, pruners)
    phases = {1: first, 2: branched(chosen, run, 2), 3: branched(chosen, run, 3)}
    names = dict(enumerate(STAGE_NAMES.values()))  # after phase 1, sparse, and so on
    with st.container(horizontal=True):
        st.button(
            "Start all phases",
            key="start",
            type="primary",
            icon=":material/play_arrow:",
            disabled=config is None,
            on_click=begin,
            args=(config,),
        )
        for phase, (one, why) in phases.items():
            st.button(
                f"Phase {phase}: {names[phase]}",
                key=f"phase-{phase}",
                disabled=one is None,
                on_click=begin,
                args=(one,),
                help=why or None,
            )
    if refused := st.session_state.pop("refused", None):
        layout.refuse(refused)


def panel(run: Run) -> None:
    """The shown run: what it is, how far it has come or what came out."""
    config, state = run.config, run.state()
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.subheader(layout.plain(config.title) or run.id, anchor=False, width="content")
            progress.badge(state)
        about = run_panel.about(config)
        st.caption(f"{run.id} · {about}" if config.title else about)
        if state == "finished":
            results(run)
        else:
            progress.follow(run, state)
            if state not in progress.LIVE:
                progress.explain(run, state)
        run_panel.left_as_they_are(run)
        run_panel.edit_note(run)
        if state not in progress.LIVE:
            run_panel.tools(run, state)


def results(run: Run) -> None:
    """The result in numbers, and links to the pages that show it."""
    result = run.finished_result()
    with st.container(horizontal=True):
        for stage, measured in result.perplexity.items():
            st.metric(
                f"Perplexity, {STAGE_NAMES[stage]}",
                charts.number(measured.value),
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
    if result.chosen:
        counts = " and ".join(
            f"{CHOSEN.get(name) or layout.plain(name)} in {count} {'layer' if count == 1 else 'layers'}"
            for name, count in sorted(result.chosen.items(), key=lambda item: -item[1])
        )
        st.markdown(f"Kept as the final weights: {counts}.")
    if change := result.reconstruction:
        judged = "windows that were held out" if run.config.held_out else "the very windows that they were adjusted on"
        st.markdown(
            f"Adjusting whole blocks helped {change.improved} of {change.of}: on {judged}, the output error of all "
            f"went from {100 * change.before:.2f} % to {100 * change.after:.2f} % on average."
        )
    st.page_link(
        "pages/studio.py",
        label="See what happened to the weights",
        icon=":material/bar_chart:",
        query_params=studio_details.address(run),
    )


def recent(shown: str | None) -> None:
    """The newest runs; one click opens one."""
    from sds_core.runs.run_folder import ids

    st.subheader("Recent runs", anchor=False)
    names = ids()
    if not names:
        st.caption("There are no runs yet. Choose the options above and press a button.")
        return
    everything = len(names) > LISTED and st.toggle(f"All {len(names)} runs", key="all-runs")
    for name in names if everything else names[:LISTED]:
        line = cached.summary(name)
        left, middle, right = st.columns([4, 2, 3], vertical_alignment="center")
        title = layout.plain(str(line["asked"].get("title") or ""))
        label = f"{title} · {name}" if title else name
        label = f"**{label}** (shown above)" if name == shown else label
        with left.container(gap=None):
            st.button(label, key=f"open-{name}", type="tertiary", on_click=show, args=(name,))
            if line["note"]:
                st.caption(layout.plain(line["note"]))
        with middle:
            progress.badge(line["state"])
        right.markdown("" if line["value"] is None else f"perplexity {charts.number(line['value'])}")


st.title("Prune this model, step by step", anchor=False)
with st.spinner("Loading the engine …"):
    pruners = layout.load_pruners()
    run = layout.run_in_url()
if run and st.session_state.get("options of") != run.id:
    options.take_over(run.config)
    st.session_state["options of"] = run.id
offer(run, pruners)
if run:
    panel(run)
elif "run" in st.query_params:
    run_panel.offer_removal(st.query_params["run"])
recent(run.id if run else None)
run_panel.importer()
