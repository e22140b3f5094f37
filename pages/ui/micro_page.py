"""The page Micro: the example and the step in the address, words beside grids."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

import streamlit as st
import torch

from pages.ui import glossary_box, layout, micro_dense, micro_prune, url_state
from pages.ui.micro_parts import Example, source
from sds_core.errors import SDSError
from sds_core.lesson.micro import SEEDS
from sds_core.pruning.titles import pruner_title

if TYPE_CHECKING:
    from sds_core.pruning.registry import PrunerRegistry

FIRST_EXAMPLE = 10
"""In this one the pruners disagree, the dense phase changes the mask, and the error falls."""
STEPS = {
    "predict": ("1 · Predict", micro_prune.predict),
    "prune": ("2 · Prune", micro_prune.prune),
    "columns": ("Column by column", micro_prune.columns),
    "dense": ("3 · Re-dense", micro_dense.dense),
    "again": ("4 · Prune again", micro_dense.again),
}
"""Label and content of every step by its name in the address."""
STYLE = """<style>
@media (min-width: 780px) {
  .st-key-columns { display: grid; grid-template-columns: 270px minmax(0, 1fr); gap: 24px; }
}
</style>"""
"""One grid fits beside the words in a narrow window, too."""
TERMS = (
    "pruner",
    "weight",
    "layer",
    "mask",
    "2:4",
    "input norm",
    "correlation",
    "output error",
    "re-dense",
    "memory",
    "solved",
)


def choose_example() -> int:
    """Number of the example: shown by a widget, kept in the address."""

    def another() -> None:
        st.query_params["seed"] = str(random.randint(0, SEEDS))

    seed = url_state.whole("seed", 0, SEEDS, FIRST_EXAMPLE)
    st.session_state["micro-seed"] = seed
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.number_input(
            "Example",
            0,
            SEEDS,
            step=1,
            key="micro-seed",
            on_change=url_state.write,
            args=("seed", "micro-seed"),
            width=130,
            help="The same number gives everyone the same example; it is in the address of this page.",
        )
        st.button("Another", key="micro-another", icon=":material/casino:", on_click=another)
    return seed


def choose_step(pruners: PrunerRegistry) -> tuple[str, str]:
    """Pruner and step: shown by widgets, kept in the address."""
    pruner = url_state.choice("pruner", list(pruners.names), "wanda")
    steps = [step for step in STEPS if step != "columns" or pruner == "sparsegpt"]
    if pruner != "sparsegpt" and st.query_params.get("step") == "columns":
        st.query_params["step"] = "prune"
    step = url_state.choice("step", steps, "predict")
    st.session_state["micro-pruner"], st.session_state["micro-step"] = pruner, step
    st.segmented_control(
        "Pruner",
        list(pruners.names),
        key="micro-pruner",
        required=True,
        format_func=pruner_title,
        on_change=url_state.write,
        args=("pruner", "micro-pruner"),
        label_visibility="collapsed",
    )
    st.segmented_control(
        "Step",
        steps,
        key="micro-step",
        required=True,
        format_func=lambda name: STEPS[name][0],
        on_change=url_state.write,
        args=("step", "micro-step"),
        label_visibility="collapsed",
    )
    return pruner, step


def show(load: Callable[[], PrunerRegistry]) -> None:
    """Words and choices on the left, the step and its grids on the right.

    Args:
        load: returns the pruners that can be chosen.
    """
    url_state.remember("micro address", ("seed", "pruner", "step"))
    torch.set_num_threads(1)  # more threads only get in each other's way on matrices this small
    st.html(STYLE)
    with st.container(key="columns"):
        words, grids = st.container(key="beside-micro"), st.container(key="grids")
        with words:
            st.html("<h1>What does each pruner look at?</h1>")
            pruners = load()
            seed = choose_example()
        with grids, st.container(horizontal=True):
            pruner, step = choose_step(pruners)
        with words:
            try:
                computed_by = STEPS[step][1](Example(pruner, pruners, seed), grids)
            except SDSError as error:
                layout.refuse(error)
                computed_by = ()
            with st.container(horizontal=True):
                if computed_by:
                    source(*computed_by)
                glossary_box.popover(*TERMS)
