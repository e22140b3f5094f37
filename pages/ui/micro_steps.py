"""The steps of Micro, one function each: pictures and sentences of an example."""

from __future__ import annotations

import inspect
import textwrap
from typing import TYPE_CHECKING, Any

import streamlit as st

from pages.ui import charts, url_state
from sds_core.lesson.glossary import GLOSSARY
from sds_core.pruning.titles import pruner_title

if TYPE_CHECKING:
    from torch import Tensor

    from sds_core.lesson.micro import Remembered
    from sds_core.pruning.layer_problem import LayerProblem, Pruned
    from sds_core.pruning.registry import Pruner, PrunerRegistry

LOOKS_AT = {
    "magnitude": "It compares the **sizes of the weights** (without their signs), and nothing else.",
    "wanda": "It compares **size × input norm**, that is, times the strength of the input that the weight multiplies: "
    "a small weight on a strong input can win.",
    "sparsegpt": "It compares what each loss would cost **after repair by the columns to the right**. Inputs that go "
    "together (correlation) can stand in for each other, so this is hard to see: guess.",
}
SCORED = {
    "magnitude": "Score: size of the weight",
    "wanda": "Score: size × input norm",
    "sparsegpt": "Score: what its loss would cost",
}
WIDE = 400
"""Width of a grid in pixels; two fit beside each other on a projector."""


def show(figure: dict[str, Any], key: str, alt: str) -> None:
    """A grid in its own width, so that grids stand beside each other or under each other."""
    with st.container(width=WIDE):
        charts.show(figure, key, alt)


def per_cent(value: float) -> str:
    return f"{100 * value:.1f}\N{NO-BREAK SPACE}%"


def looks_at(pruner: str, pruners: PrunerRegistry) -> str:
    """Say what the pruner compares; for a plugin, the first paragraph of its class's docstring."""
    documented = inspect.getdoc(pruners.cls(pruner)) or ""
    return LOOKS_AT.get(pruner, " ".join(documented.partition("\n\n")[0].split()))


def source(*functions: Any) -> None:
    """The very source of what this step has called."""
    names = " and ".join(f"`{function.__qualname__}`" for function in functions)
    with st.expander(f"The source that computed this: {names}"):
        text = "\n\n".join(textwrap.dedent(inspect.getsource(function)) for function in functions)
        st.code(text, height=420 if text.count("\n") > 22 else "content")


def go_on(label: str, step: str) -> None:
    """The button that leads to another step."""
    with st.container():
        st.button(label, key="micro-next", type="primary", on_click=st.query_params.update, args=({"step": step},))


def guess_key(pruner: str, seed: int, group: int) -> str:
    return f"micro-guess-{pruner}-{seed}-{group}"


def predict(pruner: str, pruners: PrunerRegistry, seed: int, problem: LayerProblem, row: int) -> None:
    """The reader says which weights of one row survive."""
    from sds_core.figures import micro as micro_figures
    from sds_core.lesson.micro import PATTERN

    st.markdown(
        f"A layer so small that one can follow it: {problem.weight.shape[1]} inputs (columns), "
        f"{problem.weight.shape[0]} outputs (rows), a weight where they cross. The pattern {PATTERN} keeps two of "
        f"every four weights side by side and sets the others to zero. **Which weights of the framed row {row + 1} "
        f"does {pruner_title(pruner)} keep?** {looks_at(pruner, pruners)}"
    )
    with st.container(horizontal=True):
        with st.container(width=WIDE, gap=None):
            if pruner != "magnitude":
                norms = micro_figures.grid(
                    problem.gram.norms[None], "Strength of each input (norm)", signed=False, numbered=False
                )
                charts.show(norms, "norms", "The norm of each of the eight inputs")
            weight = micro_figures.grid(problem.weight, "Weights: a row an output, a column an input", row=row)
            charts.show(weight, "weight", f"The dense weights, eight by eight; row {row + 1} is framed")
        with st.container(width=320):
            picked = []
            for group in range(0, len(problem.gram.norms), PATTERN.group):
                inputs = range(group + 1, group + PATTERN.group + 1)
                chosen = st.pills(
                    f"Row {row + 1}, inputs {inputs[0]} to {inputs[-1]}: which two stay?",
                    list(inputs),
                    selection_mode="multi",
                    key=guess_key(pruner, seed, group),
                    persist_state="session",
                )
                picked.append(len(chosen))
            ready = all(count == PATTERN.keep for count in picked)
            st.caption("Two in each line chosen: see whether it is so." if ready else "Choose two in each line.")
            go_on("Reveal", "prune") if ready else go_on("Reveal without a guess", "prune")
        if pruner == "sparsegpt":
            title = "Correlation: inputs that go together"
            show(micro_figures.grid(problem.gram.scaled, title), "correlation", "How any two inputs go together")


def verdict(pruner: str, seed: int, mask: Tensor, row: int) -> str:
    """What became of the reader's prediction, if there was one."""
    from sds_core.lesson.micro import PATTERN

    kept = {j + 1 for j in mask[row].nonzero().flatten().tolist()}
    groups = range(0, mask.shape[1], PATTERN.group)
    guessed = {j for group in groups for j in st.session_state.get(guess_key(pruner, seed, group)) or []}
    truth = f"Row {row + 1} keeps inputs {', '.join(map(str, sorted(kept)))}."
    if len(guessed) != len(kept):
        return truth
    right = len(guessed & kept)
    said = f"You said {', '.join(map(str, sorted(guessed)))}: "
    return f"{truth} {said}**{'all' if right == len(kept) else f'{right} of {len(kept)}'} right.**"


def prune(pruner: str, pruners: PrunerRegistry, seed: int, problem: LayerProblem, first: Pruned, row: int) -> None:
    """The scores, what they leave, and what it costs."""
    from sds_core.figures import micro as micro_figures
    from sds_core.lesson import micro
    from sds_core.pruning.registry import PRUNERS

    compared = dict.fromkeys([*PRUNERS, pruner])
    errors = {name: problem.loss(pruners.make(name).solve(problem, micro.PATTERN).weight) for name in compared}
    others = " and with ".join(f"{pruner_title(n)} it would be {per_cent(e)}" for n, e in errors.items() if n != pruner)
    st.markdown(
        f"{verdict(pruner, seed, first.mask, row)} The layer’s output is now **{per_cent(errors[pruner])} off**; "
        f"with {others}.",
        help=GLOSSARY["output error"],
    )
    with st.container(horizontal=True):
        scores = micro.scores(pruners.make(pruner), problem)
        if scores is not None:
            title = SCORED.get(pruner, "Score")
            signed = bool((scores < 0).any())
            figure = micro_figures.grid(scores, title, signed=signed, faded=~first.mask, row=row)
            show(figure, "scores", "The scores that the pruner compares; coloured ones are kept")
        left = micro_figures.grid(first.weight, "What is left", faded=~first.mask, row=row)
        show(left, "pruned", "The weights after pruning; pruned ones are 0 and without colour")
        moved = (first.weight - problem.weight) * first.mask
        if scores is None:
            figure = micro_figures.grid(moved, "By how much kept weights moved", faded=moved == 0, row=row)
            show(figure, "moved", "By how much the kept weights differ from the dense ones")
    chosen = "" if scores is None else "Of four side by side (there is a gap after them) the two highest scores stay. "
    repair = ", to repair the loss" if pruner == "sparsegpt" else ""
    changes = f"The kept weights have changed{repair}." if moved.any() else ""
    st.caption(f"Coloured: kept. {chosen}{changes}")
    go_on("See it column by column", "columns") if pruner == "sparsegpt" else go_on("Go on", "dense")
    source(pruners.cls(pruner))


def columns(problem: LayerProblem) -> None:
    """SparseGPT's sweep, one column at a time."""
    import torch

    from sds_core.figures import micro as micro_figures
    from sds_core.lesson import micro
    from sds_core.pruning.sparsegpt import column_steps

    at = url_state.whole("column", 0, micro.SIZE, 1)
    st.session_state["micro-column"] = at
    st.slider(
        "Columns done", 0, micro.SIZE, key="micro-column", on_change=url_state.write, args=("column", "micro-column")
    )
    steps = micro.columns(problem)
    states = [problem.weight, *(step.weight for step in steps)]
    now, before, j = states[at], states[max(at - 1, 0)], at - 1
    passed = torch.arange(micro.SIZE) <= j
    faded = passed & ~steps[j].mask if at else torch.zeros_like(now, dtype=torch.bool)
    pushed = torch.where(passed, 0, now - before)
    if at:
        rows = [str(i + 1) for i in (steps[j].lost[:, j] != 0).nonzero().flatten().tolist()]
        where = f"row{'s' * (len(rows) > 1)} {', '.join(rows)}" if rows else "no row"
        where = "every row" if len(rows) == micro.SIZE else where
        said = f"Column {at} loses its weight in {where}. "
        said += (
            "There is no column left to repair it."
            if at == micro.SIZE
            else "To make up for each loss, the weights to its right change."
        )
        if j % micro.PATTERN.group == 0:
            group = f"{at} to {at + micro.PATTERN.group - 1}"
            said = f"The mask of columns {group} is chosen, on the weights **as they are by now**. " + said
    else:
        said = "Nothing is pruned yet. Move on one column at a time."
    st.markdown(said)
    with st.container(horizontal=True):
        figure = micro_figures.grid(now, "Weights now", faded=faded, column=j if at else None)
        show(figure, "now", "The weights after this column; pruned ones are without colour")
        figure = micro_figures.grid(pushed, "Changes made by this column", faded=pushed == 0)
        show(figure, "pushed", "By how much this column's errors have changed the later weights")
    go_on("Go on", "dense")
    source(column_steps)


def dense(problem: LayerProblem, first: Pruned, rounds: list[Remembered]) -> None:
    """The rounds of the dense phase, with their memory."""
    from sds_core.figures import micro as micro_figures
    from sds_core.pruning.redense import admm_rounds

    number = url_state.whole("round", 1, len(rounds), 1)
    st.session_state["micro-round"] = number
    st.slider(
        "Round",
        1,
        len(rounds),
        key="micro-round",
        on_change=url_state.write,
        args=("round", "micro-round"),
        help=GLOSSARY["round"],
    )
    now = rounds[number - 1]
    moved, kept = now.round.dense, now.round.sparse
    lost, returned = first.mask & ~kept.mask, kept.mask & ~first.mask
    st.markdown(
        f"A round: every weight may move again, the zeros too, so that the output comes right (*re-dense*, V): it is "
        f"**{per_cent(problem.loss(moved))} off**. A memory U adds up what the prunes so far threw away. The next "
        f"prune looks at V + U and keeps what is coloured there: **{int(returned.sum())}** of {int(kept.mask.sum())} "
        "are others than at first."
    )
    with st.container(horizontal=True):
        show(micro_figures.grid(moved, "V: weights, free to move"), "redense", "The re-dense weights of this round")
        figure = micro_figures.grid(now.memory, "U: memory of what was thrown away", faded=now.memory == 0)
        show(figure, "memory", "The memory before this round's prune")
        figure = micro_figures.grid(
            moved + now.memory, "V + U, and what is kept of it", faded=~kept.mask, lost=lost, returned=returned
        )
        show(figure, "kept", "Re-dense weight plus memory; coloured ones are kept, framed ones are new or lost")
    st.caption(
        "Frames compare with the first mask: blue has returned, orange is lost. A weight that is thrown away again and "
        "again grows in the memory until it comes back. The rows compete by size × input norm, whatever the pruner."
    )
    go_on("Go on", "again")
    source(admm_rounds)


def again(pruner: Pruner, problem: LayerProblem, first: Pruned, rounds: list[Remembered]) -> None:
    """The second prune and the solved weights, beside the first prune."""
    from sds_core.figures import micro as micro_figures
    from sds_core.lesson import micro
    from sds_core.pruning.adjust import solve_kept
    from sds_core.pruning.methods import SDSAdmm

    method = SDSAdmm()
    fit = problem.shrunk(method.alpha)
    chosen, final = method.finish(fit, first, rounds[-1].round.dense, pruner, micro.PATTERN)
    solved = solve_kept(fit, first)
    lost, returned = first.mask & ~final.mask, final.mask & ~first.mask
    with st.container(horizontal=True):
        label: dict[str, Any] = {"help": GLOSSARY["output error"], "width": 230}
        st.metric("Error: first prune", per_cent(problem.loss(first.weight)), **label)
        st.metric("Error: its weights solved", per_cent(problem.loss(solved.weight)), **label)
        st.metric("Error: after the dense phase", per_cent(problem.loss(final.weight)), **label)
    moved = int(returned.sum())
    if chosen == "first prune":
        st.markdown("The second prune was no better here, so the first one was kept, its weights solved for.")
    else:
        st.markdown(
            f"The second prune keeps **{moved}** of {int(final.mask.sum())} weights that the first did not. “Solved” "
            "says that the kept weights then took the values with the smallest output error."
        )
    with st.container(horizontal=True):
        figure = micro_figures.grid(first.weight, "First prune", faded=~first.mask, lost=lost)
        show(figure, "first", "The weights after the first prune; framed ones are lost later")
        figure = micro_figures.grid(final.weight, "Final weights", faded=~final.mask, returned=returned)
        show(figure, "final", "The final weights; framed ones were pruned at first")
    st.caption("Orange: kept at first, pruned in the end. Blue: pruned at first, back in the end.")
    st.page_link("pages/lab.py", label="See the same on a real layer", icon=":material/science:")
    source(SDSAdmm.finish, solve_kept)
