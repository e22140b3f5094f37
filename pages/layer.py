"""Layer: what pruning did to the weights of one linear layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from pages.ui import cached, charts, layout, progress
from sds_core.errors import SDSError
from sds_core.figures.style import per_cent
from sds_core.lesson.glossary import GLOSSARY
from sds_core.pruning.stages import STAGE_NAMES

if TYPE_CHECKING:
    import pandas as pd

    from sds_core.pruning.pattern import Pattern
    from sds_core.runs.run_folder import Run

layout.routed()

STATISTICS = {
    "loss": ("Output error", "output error"),
    "sparsity": ("Pruned", "sparsity"),
    "std": ("Spread", "spread"),
    "near_zero": ("Near zero", "near zero"),
    "kurtosis": ("Kurtosis", "kurtosis"),
    "mask_changed": ("Mask changed", "mask changed"),
    "held_out": ("Error on unseen text", "held-out error"),
    "prune_energy": ("Cost of the next prune", "prune energy"),
}
"""Columns of the record, with their titles and the terms under which the glossary explains them."""
STICKY = """<style>
div:has(> .st-key-verdict) {
    position: sticky; top: 3.75rem; z-index: 90; padding-bottom: 0.5rem; background: light-dark(#FFFFFF, #0E1117);
}
</style>"""
"""Keeps the verdict in view while one scrolls; the colours are the theme's backgrounds."""
PER_CENT = ("loss", "sparsity", "near_zero", "mask_changed", "held_out", "prune_energy")


def turn_to_cell() -> None:
    """A select box has changed: another layer."""
    st.query_params["cell"] = f"{st.session_state['layer-block']}.{st.session_state['layer-linear']}"


def turn_to_point(cell: list) -> None:
    """A cell of the map was clicked."""
    st.query_params["cell"] = f"{int(cell[0])}.{cell[1]}"


def choose_cell(record: pd.DataFrame) -> tuple[int, str]:
    """The layer in the address, else the first; the boxes show it and change it."""
    blocks = sorted({int(block) for block in record["block"]})
    linears = list(dict.fromkeys(record["linear"]))
    asked = st.query_params.get("cell", "")
    block, _, linear = asked.partition(".")
    found = block.isdecimal() and int(block) in blocks and linear in linears
    if asked and not found:
        layout.refuse(f"This run has no layer “{asked[:60]}”; here is its first.")
    first = record.sort_values("block", kind="stable").iloc[0]
    cell = (int(block), linear) if found else (int(first["block"]), first["linear"])
    st.session_state["layer-block"], st.session_state["layer-linear"] = cell
    st.selectbox("Block", blocks, key="layer-block", on_change=turn_to_cell, width=130)
    st.selectbox("Linear", linears, key="layer-linear", on_change=turn_to_cell, width=260)
    return cell


def verdict(run: Run) -> None:
    """The run's effect on the model's perplexity."""
    result = run.result()
    if result is None:
        with st.container(horizontal=True, vertical_alignment="center"):
            progress.badge(run.state())
            st.markdown("No perplexity yet; the pictures show the blocks that are done.")
        return
    dense, last = result.dense_perplexity, result.last_perplexity
    st.html(STICKY)
    with st.container(key="verdict"):
        st.markdown(
            f"##### Perplexity {charts.number(dense.value)} dense → {charts.number(last.value)} "
            f"{STAGE_NAMES[result.last]} ({charts.ratio(last.against_dense)})"
        )


def pictures(record: pd.DataFrame, cell: tuple[int, str], pattern: Pattern, finished: bool) -> None:
    """The chosen layer's stages and rounds, and where it stands among all layers."""
    from sds_core.figures import layer as layer_figures
    from sds_core.figures.error_map import error_map

    layer = record[(record["block"] == cell[0]) & (record["linear"] == cell[1])]
    st.subheader(f"Its weights, stage by stage: block {cell[0]}, {layout.plain(cell[1])}", anchor=False)
    if layer.empty:
        told = "This layer was not pruned." if finished else "This layer is not done yet."
        st.info(told, icon=":material/info:")
    else:
        charts.show(layer_figures.ridges(layer), "ridges", "Histograms of the layer's weights, one row a stage")
        st.caption(
            "Areas are shares of the weights; exact zeros are in the label. Grey outline: the dense weights. "
            "An arrow stands beside a peak that is cut off at the top, and says how many weights are in it."
        )
        if moving := layer_figures.player(layer):
            st.subheader("Phase 2, round by round", anchor=False)
            charts.show(moving, "player", "Histogram of the re-dense weight in every round of phase 2")
            st.caption(
                "The re-dense weight after each round, and what the next prune keeps of it. A peak that exceeds the "
                "picture is cut off at the top."
            )
        changes(layer, pattern)
        st.subheader("The same in numbers", anchor=False)
        st.table(numbers(layer), border="horizontal", hide_index=True, alt="Statistics of the layer's weights by stage")
    stage = next((s for s in ("final", "sparse", "redense") if (record["stage"] == s).any()), "dense")
    rows = record[(record["stage"] == stage) & (record["round"] == 0)].sort_values("block", kind="stable")
    st.subheader(f"Output error of every layer: {STAGE_NAMES[stage]} weights", anchor=False)
    alt = "Output error by block and linear; the chosen layer is framed"
    charts.show(error_map(rows, cell), "map", alt, clicked=turn_to_point)
    st.caption("Click a cell to open its layer.")


def changes(layer: pd.DataFrame, pattern: Pattern) -> None:
    """Where every dense weight has gone, and a corner of the masks before and after."""
    from sds_core.figures import change as change_figures
    from sds_core.pruning.pattern import NM

    stages = layer[layer["round"] == 0].drop_duplicates("stage", keep="last").set_index("stage")
    stages = stages[stages["joint"].notna()] if "joint" in stages else stages.head(0)
    if stages.empty:
        return
    names = [stage for stage in STAGE_NAMES if stage in stages.index]
    st.subheader("Where the dense weights have gone", anchor=False)
    stage = st.segmented_control(
        "Weights",
        names,
        default=names[-1],
        format_func=lambda name: STAGE_NAMES[name],
        key="layer-stage",
        label_visibility="collapsed",
    )
    stage = stage or names[-1]
    picture = change_figures.before_and_after(list(stages.loc[stage, "joint"]), stage)
    charts.show(picture, "density", "Dense weights across, what became of them upwards, shaded by their number")
    st.caption("On the dotted line nothing has changed. Pruned weights are left out; they are the zeros above.")
    if (crop := stages.loc[names[-1], "crop"]) is not None and {"sparse", "final"} <= set(names):
        st.subheader("Who was pruned: first against last", anchor=False)
        picture = change_figures.masks(list(crop), int(stages.loc[names[-1], "columns"]), pattern)
        charts.show(picture, "masks", "The upper left corner of the mask of phase 1 and of the final one")
        told = "A corner of the layer. Lost: kept by phase 1, pruned in the end. Returned: the other way round."
        if isinstance(pattern, NM):
            told += f" Between two lines {pattern} holds: {pattern.keep} of {pattern.group} are kept."
        st.caption(told)


def numbers(layer: pd.DataFrame) -> pd.DataFrame:
    """A statistic a row, with a sentence on it, and a stage a column."""
    import pandas as pd

    rows = {stage: layer[(layer["stage"] == stage) & (layer["round"] == 0)] for stage in STAGE_NAMES}
    table = [
        {"statistic": f"**{title}.** {GLOSSARY[term]}"}
        | {STAGE_NAMES[s]: written(name, found.iloc[-1]) for s, found in rows.items() if not found.empty}
        for name, (title, term) in STATISTICS.items()
        if name in layer and layer[name].notna().any()
    ]
    return pd.DataFrame(table)


def written(name: str, row: pd.Series) -> str:
    """One statistic of one stage."""
    value = float(row[name])
    if value != value:
        return "–"
    if name == "std":
        value /= float(row["dense_std"]) or 1.0
    return per_cent(value, 2) if name in PER_CENT else f"{value:.2f}"


st.title("What happened to these weights?", anchor=False)
boxes = st.container(horizontal=True)
with st.spinner("Loading the record …"), boxes:
    run = layout.choose_run("layer-run")
if run:
    verdict(run)
    try:
        record = cached.record(run)
    except SDSError as error:
        layout.refuse(error)
        st.stop()
    if record.empty:
        st.info("No block of this run is done yet.", icon=":material/info:")
        st.stop()
    with boxes:
        cell = choose_cell(record)
    pictures(record, cell, run.config.parsed_pattern(), run.result() is not None)
