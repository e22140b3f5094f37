"""Layer lab: one real layer, and what every round of the dense phase does to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import streamlit as st

from pages.ui import charts, glossary_box, layout, url_state
from sds_core.errors import SDSError
from sds_core.lesson.glossary import GLOSSARY
from sds_core.pruning.titles import pruner_title

if TYPE_CHECKING:
    import pandas as pd

    from sds_core.pruning.registry import PrunerRegistry

layout.routed()

PATTERNS = ("2:4", "4:8", "1:4", "50%", "70%")
MOST_ROUNDS = 20
SHARES = tuple(f"{share / 20:g}" for share in range(21))
"""Values of α."""


@st.cache_resource(show_spinner=False)
def layer() -> Any:
    """The shipped layer; its factorisations are computed once."""
    from sds_core.lesson.lab import read_lab_layer

    return read_lab_layer()


@st.cache_data(max_entries=60, show_spinner=False)
def walk(
    pruner: str, pattern: str, rounds: int, alpha: str, memory: bool, sha256: str, _pruners: PrunerRegistry
) -> pd.DataFrame:
    """Return what one setting gives; the SHA-256 of a plugin's file makes a changed plugin another setting."""
    import torch

    from sds_core.lesson import lab
    from sds_core.pruning.methods import SDSAdmm
    from sds_core.pruning.pattern import parse_pattern

    torch.set_num_threads(1)  # more only get into each other's way on matrices this small
    method = SDSAdmm(rounds=rounds, alpha=float(alpha))
    return lab.walk(layer(), _pruners.make(pruner), parse_pattern(pattern), method, memory)


def choose(pruners: PrunerRegistry) -> tuple[str, str, int, str, bool]:
    """The setting: shown by widgets, kept in the address."""
    from sds_core.pruning.methods import SDSAdmm

    usual = SDSAdmm()
    setting: dict[str, Any] = {
        "memory": url_state.choice("memory", ("on", "off"), "on"),
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

    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.segmented_control("Memory", ("on", "off"), required=True, **tied("memory", "memory"))
        st.selectbox(
            "Base pruner", list(pruners.names), format_func=pruner_title, width=150, **tied("pruner", "pruner")
        )
        st.selectbox("Pattern", PATTERNS, width=110, **tied("pattern", "pattern"))
        st.slider("Rounds", 1, MOST_ROUNDS, width=190, **tied("rounds", "round"))
        st.select_slider("Shrinkage α", SHARES, width=190, **tied("alpha", "shrinkage"))
    memory, pruner, pattern, rounds, alpha = setting.values()
    return pruner, pattern, rounds, alpha, memory == "on"


def per_cent(value: float, digits: int = 2) -> str:
    return f"{100 * value:.{digits}f}\N{NO-BREAK SPACE}%"


def numbers(found: pd.DataFrame) -> None:
    """The errors before and after, on both texts, and the mask."""
    ends = {stage: found[found["stage"] == stage].iloc[-1] for stage in ("sparse", "adjusted", "final")}
    names = {
        "sparse": "Error: first prune",
        "adjusted": "Error: its weights solved",
        "final": "Error: after the dense phase",
    }
    with st.container(horizontal=True):
        for stage, row in ends.items():
            st.metric(
                names[stage],
                per_cent(row["held_out"]),
                f"{per_cent(row['seen'])} on the calibration text",
                delta_color="off",
                delta_arrow="off",
                width=216,
                help=f"On held-out text. {GLOSSARY['output error']}"
                + (f" Solved: {GLOSSARY['solved']}" if stage != "sparse" else ""),
            )
        changed = ends["final"]["changed"]
        st.metric("Mask changed", per_cent(changed), width=120, help=GLOSSARY["mask changed"])


def why(found: pd.DataFrame, memory: bool) -> None:
    """What was seen, in a sentence with its numbers."""
    moving = found[found["stage"] == "redense"]
    first, last = moving.iloc[0], moving.iloc[-1]
    pruned = found[found["stage"] == "pruned"]
    start = found[found["stage"] == "sparse"].iloc[0]
    if not memory:
        st.info(
            f"**Without a memory nothing changes.** The pruned weights come back, at {per_cent(first['returned'], 0)} "
            f"of their dense size after round 1 and {per_cent(last['returned'], 0)} after round {int(last['round'])} "
            "(median). But they come back no larger than they were in the dense layer, where they lost already. So the "
            f"next prune picks the same mask ({per_cent(pruned.iloc[-1]['changed'])} of it is new), and all that the "
            "dense phase did is undone.",
            icon=":material/block:",
        )
        return
    worse = [int(n) for n, e in zip(pruned["round"], pruned["held_out"], strict=True) if e > start["held_out"]]
    warning = (
        f" Stopping early does harm: pruned again after {'round' if len(worse) == 1 else 'rounds'} "
        f"{', '.join(map(str, worse))}, the layer is worse than after the first prune."
        if worse
        else ""
    )
    st.info(
        "**With the memory the mask moves.** What a prune throws away is added up. A weight that the others cannot "
        "replace is missed again in every round, grows in the memory, and comes back; another goes for good. "
        f"{per_cent(pruned.iloc[-1]['changed'], 1)} of the mask is new in the end.{warning}",
        icon=":material/history:",
    )


def pictures(found: pd.DataFrame) -> None:
    """Errors and masks by round, and the distribution moving."""
    from sds_core.figures import lab as lab_figures
    from sds_core.figures import layer as layer_figures

    st.subheader("What every round costs, and the next prune after it", anchor=False)
    charts.show(lab_figures.rounds(found), "rounds", "Output errors by round, and the share of the mask that changes")
    st.caption(
        "Solid: held-out text, dotted: calibration text. The gap between them is what is learnt by heart; more "
        "shrinkage narrows it. Orange starts with the first prune, and tells for every round what its prune would cost."
    )
    st.subheader("The weights, round by round", anchor=False)
    moving = layer_figures.player(found)
    assert moving is not None
    charts.show(moving, "player", "Histogram of the re-dense weights in every round, and what their prune keeps")
    st.caption("Blue: the re-dense weights. Orange: what is left when they are pruned. Grey: the dense layer.")


def origin() -> None:
    """What the layer is, and what is left out."""
    about = layer().about
    with st.expander("What this layer is"):
        rows, columns = layer().seen.weight.shape
        st.markdown(
            f"`{about['layer']}` of the model `{about['model']}`: {rows} outputs, {columns} inputs. Its inputs were "
            f"watched in the dense model, on {about['seen windows']} of the model’s own text for calibration and on "
            f"another {about['held_out windows']} as held-out text. Made by `{about['command']}`.\n\n"
            "Two things a whole run has are left out, since they need the whole model: inputs that come out of pruned "
            "layers, and β, the share of the dense model’s outputs in the target. Both prunes look at the Gram matrix "
            "with the chosen shrinkage, so that nothing but the dense phase can change the mask."
        )


st.title("What does the dense phase do?", anchor=False)
st.markdown(
    "A real layer is pruned, then in every round filled in and pruned again. Change one thing and see what it does to "
    "the error: how far off the layer’s output is on a text that nothing here has looked at (held-out text)."
)
with st.spinner("Loading the engine …"):
    pruners = layout.load_pruners()
    setting = choose(pruners)
try:
    found = walk(*setting, pruners.sha256(setting[0]), pruners)
    numbers(found)
    why(found, setting[-1])
    pictures(found)
    origin()
except SDSError as error:
    layout.refuse(error)
glossary_box.explain(
    "re-dense", "memory", "round", "output error", "held-out text", "overfitting", "mask", "pattern", "Gram matrix"
)
