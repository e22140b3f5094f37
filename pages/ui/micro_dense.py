"""Micro's steps after the first prune: the rounds of the dense phase, and the second prune."""

from __future__ import annotations

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages.ui import layout, url_state
from pages.ui.micro_parts import Computed, Example, matrix, next_step, show
from sds_core.lesson.glossary import GLOSSARY
from sds_core.lesson.micro import PATTERN
from sds_core.pruning.adjust import solve_kept
from sds_core.pruning.methods import SDSAdmm
from sds_core.pruning.redense import admm_rounds


def dense(example: Example, grids: DeltaGenerator) -> Computed:
    """Show the rounds of the dense phase, with their dual variable."""
    number = url_state.whole("round", 1, len(example.rounds), 1)
    st.session_state["micro-round"] = number
    st.slider(
        "Round",
        1,
        len(example.rounds),
        key="micro-round",
        on_change=url_state.write,
        args=("round", "micro-round"),
        help=GLOSSARY["round"],
    )
    now = example.rounds[number - 1]
    moved, kept, first = now.round.dense, now.round.sparse, example.first
    lost, returned = first.mask & ~kept.mask, kept.mask & ~first.mask
    st.markdown(
        "In a round, every weight may move again, the zeros too, until the output is nearly right (*re-dense*, V): "
        f"its error is **{example.error(moved)}**. The memory U (ADMM’s *dual* variable) adds up what "
        "earlier prunes removed. This round’s prune looks at V + U and keeps what is coloured there: "
        f"**{int(returned.sum())}** of {int(kept.mask.sum())} weights are not in the first mask."
    )
    title, alt = "U: what prunes have removed", "The dual variable before this round’s prune"
    dual = matrix(now.dual, title, "dual", alt, faded=now.dual == 0)
    alt = "Re-dense weight plus dual variable; coloured cells are kept, framed ones are new or lost"
    masks = {"faded": ~kept.mask, "lost": lost, "returned": returned}
    show(
        grids,
        matrix(moved, "V: weights, free to move", "redense", "The re-dense weights of this round"),
        dual,
        matrix(now.accumulated, "V + U, and what is kept of it", "kept", alt, **masks),
        note="Frames compare with the first mask: blue has returned, orange is lost. A weight that is removed again "
        "and again grows in U until it comes back. Whatever the base pruner, these prunes go by size × input norm.",
        low=True,
    )
    next_step("Go on", "again")
    return (admm_rounds,)


def again(example: Example, grids: DeltaGenerator) -> Computed:
    """Show the second prune with its weights solved, beside the first prune."""
    problem, first, method = example.problem, example.first, SDSAdmm()
    fit = problem.shrunk(method.alpha)
    last = example.rounds[-1].round.dense
    chosen, final = method.finish(fit, first, last, example.pruner, PATTERN)
    lost, returned = first.mask & ~final.mask, final.mask & ~first.mask
    errors = {
        "Error: first prune": first,
        "Error: its weights solved": solve_kept(fit, first),
        "Error: after the dense phase": final,
    }
    with grids.container(horizontal=True):
        for label, pruned in errors.items():
            st.metric(label, example.error(pruned.weight), help=GLOSSARY["output error"], width=230)
    if chosen == "first prune":
        st.markdown("The second prune is no better here, so the first one stays, with its weights solved.")
    else:
        st.markdown(
            f"The second prune keeps **{int(returned.sum())}** of {int(final.mask.sum())} weights that the first did "
            "not. Then its weights are solved: they take the values with the smallest output error."
        )
    alt = "The weights after the first prune; framed ones are lost later"
    before = matrix(first.weight, "First prune", "first", alt, faded=~first.mask, lost=lost)
    alt = "The final weights; framed ones were pruned at first"
    show(grids, before, matrix(final.weight, "Final weights", "final", alt, faded=~final.mask, returned=returned))
    st.caption("Orange: kept at first, pruned in the end. Blue: pruned at first, kept in the end.")
    st.page_link(
        layout.page_file("lab"),
        label="See the same on a real layer",
        icon=":material/science:",
        query_params=layout.onward({}),
    )
    return SDSAdmm.finish, solve_kept
