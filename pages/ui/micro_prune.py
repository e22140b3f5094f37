"""Micro's steps up to the first prune: predict, prune, and SparseGPT column by column."""

from __future__ import annotations

import inspect

import streamlit as st
import torch
from streamlit.delta_generator import DeltaGenerator
from torch import Tensor

from pages.ui import layout, url_state
from pages.ui.micro_parts import Computed, Example, matrix, next_step, show
from sds_core.lesson import micro
from sds_core.lesson.glossary import GLOSSARY
from sds_core.lesson.micro import PATTERN
from sds_core.pruning.registry import PRUNERS
from sds_core.pruning.sparsegpt import ColumnStep, column_steps
from sds_core.pruning.titles import pruner_title

COMPARES = {
    "magnitude": "It compares the **sizes of the weights**, ignoring their signs, and nothing else.",
    "wanda": "It compares **size × input norm**: the size of the weight times the strength of the input that it "
    "multiplies. A small weight on a strong input can win.",
    "sparsegpt": "It compares what losing each weight would cost **after the columns to its right have made up for "
    "it**. Correlated inputs can stand in for each other, so this one is hard to see: guess.",
}
SCORED = {
    "magnitude": "Score: size of the weight",
    "wanda": "Score: size × input norm",
    "sparsegpt": "Score: what its loss would cost",
}


def predict(example: Example, grids: DeltaGenerator) -> Computed:
    """Let the reader predict which weights of one row survive."""
    problem, row = example.problem, example.row
    high, wide = problem.weight.shape
    st.markdown(
        f"{wide} inputs (columns), {high} outputs (rows), and a weight where they cross. The pattern {PATTERN} keeps "
        "two of every four neighbouring weights and sets the other two to zero. "
        f"**Which weights of the framed row {row + 1} does {pruner_title(example.name)} keep?** "
        f"{compares(example)}"
    )
    shown = []
    if example.name != "magnitude":
        title, alt = "Strength of each input (norm)", "The norm of each of the eight inputs"
        shown.append(matrix(problem.gram.norms[None], title, "norms", alt, numbered=False))
    title = "Weights: a row per output, a column per input"
    alt = f"The dense weights, eight by eight; row {row + 1} is framed"
    shown.append(matrix(problem.weight, title, "weight", alt, row=row, below=bool(shown)))
    if example.name == "sparsegpt":
        alt = "How strongly any two inputs go together"
        shown.append(matrix(problem.gram.scaled, "Correlation of the inputs", "correlation", alt))
    show(grids, *shown)
    guess(example)
    return ()


def compares(example: Example) -> str:
    """Return what the pruner compares, in words; for a plugin, the first paragraph of its class's docstring."""
    documented = inspect.getdoc(example.pruners.cls(example.name)) or ""
    return COMPARES.get(example.name, layout.plain(documented.partition("\n\n")[0]))


def guess(example: Example) -> None:
    """Show the reader's guess, and the button that reveals the answer."""
    picked = []
    for group in groups(example):
        inputs = list(range(group + 1, group + PATTERN.group + 1))
        chosen = st.pills(
            f"Row {example.row + 1}, inputs {inputs[0]} to {inputs[-1]}: which two stay?",
            inputs,
            selection_mode="multi",
            key=guess_key(example, group),
            persist_state="session",
        )
        picked.append(len(chosen))
    ready = all(count == PATTERN.keep for count in picked)
    next_step("Reveal" if ready else "Reveal without a guess", "prune")


def guess_key(example: Example, group: int) -> str:
    return f"micro-guess-{example.name}-{example.seed}-{group}"


def groups(example: Example) -> range:
    """The first input of every group, from 0."""
    return range(0, example.problem.weight.shape[1], PATTERN.group)


def verdict(example: Example) -> str:
    """Say which weights the row keeps and, after a guess, how many of them the reader found."""
    kept = {j + 1 for j in example.first.mask[example.row].nonzero().flatten().tolist()}
    guessed = {j for group in groups(example) for j in st.session_state.get(guess_key(example, group)) or []}
    truth = f"Row {example.row + 1} keeps inputs {', '.join(map(str, sorted(kept)))}."
    if len(guessed) != len(kept):
        return truth
    right = "all" if guessed == kept else f"{len(guessed & kept)} of {len(kept)}"
    return f"{truth} You said {', '.join(map(str, sorted(guessed)))}: **{right} right.**"


def prune(example: Example, grids: DeltaGenerator) -> Computed:
    """Show the scores, the remaining weights, and the output error."""
    problem, first, row = example.problem, example.first, example.row
    others = {name: cls().solve(problem, PATTERN) for name, cls in PRUNERS.items() if name != example.name}
    besides = ", and with ".join(
        f"{pruner_title(name)} it would be {example.error(pruned.weight)}" for name, pruned in others.items()
    )
    st.markdown(
        f"{verdict(example)} The layer’s output error is now **{example.error(first.weight)}** (squared); "
        f"with {besides}.",
        help=GLOSSARY["output error"],
    )
    scores = micro.scores(example.pruner, problem)
    moved = (first.weight - problem.weight) * first.mask
    shown = []
    if scores is not None:
        title, alt = SCORED.get(example.name, "Score"), "The scores it compares; coloured ones are kept"
        shown.append(matrix(scores, title, "scores", alt, faded=~first.mask, row=row))
    alt = "The weights after pruning; pruned ones are 0 and without colour"
    shown.append(matrix(first.weight, "What is left", "pruned", alt, faded=~first.mask, row=row))
    if scores is None:
        alt = "How far the kept weights are from the dense ones"
        shown.append(matrix(moved, "How far kept weights have moved", "moved", alt, faded=moved == 0, row=row))
    show(grids, *shown)
    rule = "" if scores is None else "Of every four neighbours, up to the gap, the two with the highest scores stay. "
    repair = " to make up for the loss" if example.name == "sparsegpt" else ""
    st.caption(f"Coloured: kept. {rule}{f'The kept weights have changed{repair}.' if moved.any() else ''}")
    next_step("See it column by column", "columns") if example.name == "sparsegpt" else next_step("Go on", "dense")
    return (example.pruners.cls(example.name),)


def columns(example: Example, grids: DeltaGenerator) -> Computed:
    """SparseGPT's sweep, one column at a time."""
    at = url_state.whole("column", 0, micro.SIZE, 1)
    st.session_state["micro-column"] = at
    st.slider(
        "Columns done", 0, micro.SIZE, key="micro-column", on_change=url_state.write, args=("column", "micro-column")
    )
    steps = micro.columns(example.problem)
    states = [example.problem.weight, *(step.weight for step in steps)]
    now, before = states[at], states[max(at - 1, 0)]
    passed = torch.arange(micro.SIZE) < at
    faded = passed & ~steps[at - 1].mask if at else torch.zeros_like(now, dtype=torch.bool)
    pushed: Tensor = torch.where(passed, 0, now - before)
    st.markdown(described(steps[at - 1]) if at else "Nothing is pruned yet. Move the slider one column at a time.")
    alt = "The weights after this column; pruned ones are without colour"
    done = matrix(now, "Weights now", "now", alt, faded=faded, column=at - 1 if at else None)
    alt = "How far this column’s errors have changed the later weights"
    show(grids, done, matrix(pushed, "Changes made by this column", "pushed", alt, faded=pushed == 0))
    next_step("Go on", "dense")
    return (column_steps,)


def described(step: ColumnStep) -> str:
    """Describe one column of the sweep."""
    number = step.index + 1
    rows = [str(i + 1) for i in (step.lost[:, step.index] != 0).nonzero().flatten().tolist()]
    where = f"row{'s' * (len(rows) > 1)} {', '.join(rows)}" if rows else "no row"
    where = "every row" if len(rows) == micro.SIZE else where
    last = number == micro.SIZE
    repair = "No column is left to make up for it." if last else "To make up for it, the weights to its right change."
    change = f"Column {number} loses its weight in {where}. {repair if rows else ''}"
    if step.index % PATTERN.group:
        return change
    group = f"{number} to {number + PATTERN.group - 1}"
    return f"The mask of columns {group} is chosen now, from the weights **as they are at this point**. {change}"
