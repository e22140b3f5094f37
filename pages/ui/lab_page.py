"""The page Layer lab: the setting in the address, the layer round by round, and why it is so."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import streamlit as st

from pages.ui import glossary_box, layout, url_state
from sds_core.errors import SDSError
from sds_core.lesson.glossary import GLOSSARY

if TYPE_CHECKING:
    from pages.ui.pictures.component import Pick
    from sds_core.lesson.lab import Course
    from sds_core.lesson.lab_layer import LabLayer
    from sds_core.pruning.registry import PrunerRegistry

PARAMETERS = ("dual", "pruner", "pattern", "rounds", "alpha", "round")
PATTERNS = ("2:4", "4:8", "1:4", "50%", "70%")
MOST_ROUNDS = 20
SHARES = tuple(f"{share / 20:g}" for share in range(21))
"""Values of α."""
SAME = 0.005
"""A mask of which a smaller share is new counts as the same."""
SIZE = 15
"""Pixels of the type in the picture."""


@st.cache_resource(show_spinner=False)
def layer() -> LabLayer:
    """The shipped layer; its factorisations are computed once."""
    from sds_core.lesson.lab_layer import read_lab_layer

    return read_lab_layer()


@st.cache_data(max_entries=200, show_spinner=False)
def computed(pruner: str, pattern: str, alpha: str, dual: bool, sha256: str, _pruners: PrunerRegistry) -> Course:
    """Return all rounds of one setting; the SHA-256 of a plugin's file makes a changed plugin another setting."""
    import torch

    from sds_core.lesson import lab
    from sds_core.pruning.methods import SDSAdmm
    from sds_core.pruning.pattern import parse_pattern

    torch.set_num_threads(1)  # more threads only get in each other's way on matrices this small
    method = SDSAdmm(rounds=MOST_ROUNDS, alpha=float(alpha))
    return lab.rounds(layer(), _pruners.make(pruner), parse_pattern(pattern), method, dual)


def choose(pruners: PrunerRegistry) -> tuple[str, str, int, str, bool]:
    """The setting: shown by widgets, kept in the address."""
    from sds_core.pruning.methods import SDSAdmm
    from sds_core.pruning.titles import pruner_title

    usual = SDSAdmm()
    setting: dict[str, Any] = {
        "dual": url_state.choice("dual", ("on", "off"), "on"),
        "pruner": url_state.choice("pruner", list(pruners.names), "wanda"),
        "pattern": url_state.choice("pattern", PATTERNS, "2:4"),
        "rounds": url_state.whole("rounds", 1, MOST_ROUNDS, usual.rounds),
        "alpha": url_state.choice("alpha", SHARES, f"{usual.alpha:g}"),
    }
    for name, value in setting.items():
        st.session_state[f"lab-{name}"] = value

    def tied(name: str, about: str) -> dict[str, Any]:
        key = f"lab-{name}"
        return {"key": key, "on_change": url_state.write, "args": (name, key), "help": GLOSSARY[about]}

    st.segmented_control("Memory (dual)", ("on", "off"), required=True, **tied("dual", "memory"))
    with st.container(horizontal=True):
        st.selectbox(
            "Base pruner", list(pruners.names), format_func=pruner_title, width=136, **tied("pruner", "pruner")
        )
        st.selectbox("Pattern", PATTERNS, width=98, **tied("pattern", "pattern"))
    st.slider("Rounds", 1, MOST_ROUNDS, **tied("rounds", "round"))
    st.select_slider("Shrinkage α", SHARES, **tied("alpha", "shrinkage"))
    dual, pruner, pattern, rounds, alpha = setting.values()
    return pruner, pattern, rounds, alpha, dual == "on"


def why(found: Course, dual: bool) -> str:
    """Explain the result in a few sentences, with its numbers."""
    from sds_core.figures.style import per_cent

    first, last = found.rounds[0], found.rounds[-1]
    changed = last.pruned.changed
    assert changed is not None, "a prune has a mask"
    if last is first:
        return (
            "**In the first round the memory is still empty**, so it makes no difference yet. Pruned weights come "
            f"back, at {per_cent(first.returned, 0)} of their dense size (median), and {per_cent(changed, 2)} of the "
            f"mask is new.{_worse(found)}"
        )
    if not dual:
        little, same = ("nothing changes", "the same") if changed < SAME else ("little changes", "nearly the same")
        return (
            f"**Without the memory, {little}.** Pruned weights come back, at {per_cent(first.returned, 0)} of "
            f"their dense size after round 1 and {per_cent(last.returned, 0)} after round {last.number} (median): no "
            f"larger than they were when they lost. So the next prune picks {same} mask "
            f"({per_cent(changed, 2)} of it is new)."
        )
    if changed < SAME:
        return (
            "**Here the mask hardly moves, even with the memory**: "
            f"{per_cent(changed, 2)} of the final mask is new.{_worse(found)}"
        )
    return (
        "**With the memory, the mask moves.** A weight that the others cannot replace is missed in every round, grows "
        f"in the memory, and wins its place back: {per_cent(changed)} of the final mask is new.{_worse(found)}"
    )


def _worse(found: Course) -> str:
    """Return in words which rounds leave the layer worse than the first prune; empty where none does."""
    *early, last = found.rounds
    worse = [str(step.number) for step in early if step.pruned.held_out > found.first.held_out]
    said = ""
    if worse:
        said = f" Stopping early hurts: pruned after round{'s' * (len(worse) > 1)} {', '.join(worse)}, the layer is "
        said += "worse than after the first prune."
    if last.pruned.held_out > found.first.held_out:
        said += f" {'So it is' if worse else 'The layer is worse than after the first prune'} at the end."
    return said


def origin() -> None:
    """Show the origin of the layer, and what the lab leaves out."""
    about = layer().about
    rows, columns = layer().seen.weight.shape
    with st.popover("This layer"):
        st.markdown(
            f"`{about['layer']}` of the model `{about['model']}`: {rows} outputs, {columns} inputs. Its inputs were "
            f"recorded in the dense model, on {about['seen windows']} of the model’s own text for calibration and on "
            f"another {about['held_out windows']} as held-out text. Made by `{about['command']}`.\n\n"
            "Two things that a whole run has are left out, for they need the whole model: inputs that come out of "
            "pruned layers, and β, the share of the dense model’s outputs in the target. Both prunes see the Gram "
            "matrix with the chosen shrinkage, so that only the dense phase can change the mask."
        )


def picked(pick: Pick) -> None:
    """Write the round in view into the address."""
    st.query_params["round"] = str(pick["round"])


def picture(found: Course) -> None:
    """The layer round by round."""
    from pages.ui import lab_numbers
    from pages.ui.pictures import lab

    asked = st.query_params.get("round", "0")
    view = int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 4 else 0
    lab.mount(lab_numbers.numbers(found, view, layout.presenting()), key="lab-picture", on_pick=picked)


def course(pruner: str, pattern: str, rounds: int, alpha: str, dual: bool, pruners: PrunerRegistry) -> Course:
    """Return a layer's first rounds: they are the same however many follow, so the slider computes nothing."""
    every = computed(pruner, pattern, alpha, dual, pruners.sha256(pruner), pruners)
    return dataclasses.replace(every, rounds=every.rounds[:rounds])


def show(load: Callable[[], PrunerRegistry]) -> None:
    """Controls on the left, the picture on the right.

    Args:
        load: returns the pruners that can be chosen.
    """
    layout.compact(size=SIZE)
    url_state.remember("lab address", PARAMETERS)
    found = None
    with st.container(key="columns"):
        with st.container(key="beside-lab"):
            st.html("<h1>What does the dense phase do?</h1>")
            with st.spinner("Loading the engine …"):
                pruners = load()
            setting = choose(pruners)
            try:
                found = course(*setting, pruners)
                st.markdown(why(found, setting[-1]))
                with st.container(horizontal=True):
                    origin()
                    glossary_box.popover(
                        "re-dense",
                        "memory",
                        "round",
                        "output error",
                        "held-out text",
                        "overfitting",
                        "mask",
                        "pattern",
                        "Gram matrix",
                        "solved",
                    )
            except SDSError as error:
                layout.refuse(error)
        with st.container(key="picture"):
            if found:
                picture(found)
