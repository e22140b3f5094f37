"""Micro: what each pruner looks at, on an 8×8 layer that can be followed by hand."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

import streamlit as st

from pages.ui import glossary_box, layout, micro_steps, url_state
from sds_core.errors import SDSError
from sds_core.lesson.glossary import GLOSSARY
from sds_core.pruning.titles import pruner_title

if TYPE_CHECKING:
    from sds_core.pruning.registry import PrunerRegistry

layout.routed()

FIRST_EXAMPLE = 10
"""One in which the pruners disagree, the dense phase changes the mask, and the error falls."""
STEPS = {
    "predict": "1 · Predict",
    "prune": "2 · Prune",
    "columns": "Column by column",
    "dense": "3 · Dense again",
    "again": "4 · Prune again",
}


def choose(pruners: PrunerRegistry) -> tuple[str, int, str]:
    """Pruner, number of the example, and step: shown by widgets, kept in the address."""
    from sds_core.lesson.micro import SEEDS

    def another() -> None:
        st.query_params["seed"] = str(random.randint(0, SEEDS))

    pruner = url_state.choice("pruner", list(pruners.names), "wanda")
    seed = url_state.whole("seed", 0, SEEDS, FIRST_EXAMPLE)
    steps = [step for step in STEPS if step != "columns" or pruner == "sparsegpt"]
    if pruner != "sparsegpt" and st.query_params.get("step") == "columns":
        st.query_params["step"] = "prune"
    step = url_state.choice("step", steps, "predict")
    st.session_state["micro-pruner"], st.session_state["micro-seed"] = pruner, seed
    st.session_state["micro-step"] = step
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.segmented_control(
            "Pruner",
            list(pruners.names),
            key="micro-pruner",
            required=True,
            format_func=pruner_title,
            on_change=url_state.write,
            args=("pruner", "micro-pruner"),
            help=GLOSSARY["pruner"],
        )
        st.number_input(
            "Example",
            0,
            SEEDS,
            step=1,
            key="micro-seed",
            on_change=url_state.write,
            args=("seed", "micro-seed"),
            width=130,
            help="The same number is the same example, for everyone; it is in the address of this page.",
        )
        st.button("Another example", key="micro-another", icon=":material/casino:", on_click=another)
    st.segmented_control(
        "Step",
        steps,
        key="micro-step",
        required=True,
        format_func=STEPS.__getitem__,
        on_change=url_state.write,
        args=("step", "micro-step"),
        label_visibility="collapsed",
    )
    return pruner, seed, step


def body(pruners: PrunerRegistry, pruner: str, seed: int, step: str) -> None:
    """The chosen step on the chosen example."""
    import torch

    from sds_core.lesson import micro
    from sds_core.pruning.methods import SDSAdmm

    torch.set_num_threads(1)  # more only get into each other's way on matrices this small
    problem = micro.example(seed)
    solver = pruners.make(pruner)
    first = solver.solve(problem, micro.PATTERN)
    row = micro.telling_row(problem)
    rounds = list(micro.rounds(problem, first, SDSAdmm())) if step in ("dense", "again") else []
    draw: dict[str, Callable[[], None]] = {
        "predict": lambda: micro_steps.predict(pruner, pruners, seed, problem, row),
        "prune": lambda: micro_steps.prune(pruner, pruners, seed, problem, first, row),
        "columns": lambda: micro_steps.columns(problem),
        "dense": lambda: micro_steps.dense(problem, first, rounds),
        "again": lambda: micro_steps.again(solver, problem, first, rounds),
    }
    draw[step]()


st.title("What does each pruner look at?", anchor=False)
with st.spinner("Loading the engine …"):
    pruners = layout.load_pruners()
    chosen = choose(pruners)
try:
    body(pruners, *chosen)
except SDSError as error:
    layout.refuse(error)
glossary_box.explain(
    "weight", "layer", "mask", "2:4", "input norm", "correlation", "output error", "re-dense", "memory", "solved"
)
