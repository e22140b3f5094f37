"""Layer lab: one real layer, and what every round of the dense phase does to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import streamlit as st

from pages.ui import charts, glossary_box, layout, url_state
from sds_core.errors import SDSError
from sds_core.figures.style import per_cent
from sds_core.lesson.glossary import GLOSSARY
from sds_core.pruning.titles import pruner_title

if TYPE_CHECKING:
    from sds_core.pruning.registry import PrunerRegistry

layout.routed()
st.title("What does the dense phase do?", anchor=False)
st.markdown(
    "A real layer is pruned. Then, in every round, all its weights may move again before it is pruned once more. "
    "Change one setting and watch the error: how far off the layer’s output is on held-out text, which nothing here "
    "has seen."
)
with st.spinner("Loading the engine …"):  # torch and pandas take seconds the first time: the title need not wait
    import pandas as pd
    import torch

    from sds_core.figures import lab as lab_figures
    from sds_core.figures import layer as layer_figures
    from sds_core.lesson import lab
    from sds_core.lesson.lab_layer import LabLayer, read_lab_layer
    from sds_core.pruning.methods import SDSAdmm
    from sds_core.pruning.pattern import parse_pattern

    pruners = layout.load_pruners()

PATTERNS = ("2:4", "4:8", "1:4", "50%", "70%")
MOST_ROUNDS = 20
SHARES = tuple(f"{share / 20:g}" for share in range(21))
"""Values of α."""
ENDS = {
    "sparse": "Error: first prune",
    "adjusted": "Error: its weights solved",
    "final": "Error: after the dense phase",
}


@st.cache_resource(show_spinner=False)
def layer() -> LabLayer:
    """The shipped layer; its factorisations are computed once."""
    return read_lab_layer()


@st.cache_data(max_entries=60, show_spinner=False)
def computed(
    pruner: str, pattern: str, rounds: int, alpha: str, dual: bool, sha256: str, _pruners: PrunerRegistry
) -> pd.DataFrame:
    """Return what one setting gives; the SHA-256 of a plugin's file makes a changed plugin another setting."""
    torch.set_num_threads(1)  # more threads only get in each other's way on matrices this small
    method = SDSAdmm(rounds=rounds, alpha=float(alpha))
    return lab.rounds(layer(), _pruners.make(pruner), parse_pattern(pattern), method, dual)


def choose(pruners: PrunerRegistry) -> tuple[str, str, int, str, bool]:
    """The setting: shown by widgets, kept in the address."""
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

    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.segmented_control("Memory (dual)", ("on", "off"), required=True, **tied("dual", "memory"))
        st.selectbox(
            "Base pruner", list(pruners.names), format_func=pruner_title, width=150, **tied("pruner", "pruner")
        )
        st.selectbox("Pattern", PATTERNS, width=110, **tied("pattern", "pattern"))
        st.slider("Rounds", 1, MOST_ROUNDS, width=190, **tied("rounds", "round"))
        st.select_slider("Shrinkage α", SHARES, width=190, **tied("alpha", "shrinkage"))
    dual, pruner, pattern, rounds, alpha = setting.values()
    return pruner, pattern, rounds, alpha, dual == "on"


def numbers(found: pd.DataFrame) -> None:
    """The errors on both texts, and the share of the mask that changed."""
    ends = {stage: found[found["stage"] == stage].iloc[-1] for stage in ENDS}
    with st.container(horizontal=True):
        for stage, row in ends.items():
            st.metric(
                ENDS[stage],
                per_cent(row["held_out"], 2),
                f"{per_cent(row['seen'], 2)} on the calibration text",
                delta_color="off",
                delta_arrow="off",
                width=216,
                help=f"On held-out text. {GLOSSARY['output error']}"
                + (f" Solved: {GLOSSARY['solved']}" if stage != "sparse" else ""),
            )
        changed = per_cent(ends["final"]["changed"], 2)
        st.metric("Mask changed", changed, width=120, help=GLOSSARY["mask changed"])


def why(found: pd.DataFrame, dual: bool) -> None:
    """The result in a sentence, with its numbers."""
    pruned = found[found["stage"] == "pruned"]
    changed = pruned.iloc[-1]["changed"]
    if not dual:
        moving = found[found["stage"] == "redense"]
        first, last = moving.iloc[0], moving.iloc[-1]
        st.info(
            f"**Without the memory, nothing changes.** Pruned weights come back, at {per_cent(first['returned'], 0)} "
            f"of their dense size after round 1 and {per_cent(last['returned'], 0)} after round {int(last['round'])} "
            "(median). But they return no larger than they were in the dense layer, where they lost already. So the "
            f"next prune picks the same mask ({per_cent(changed, 2)} of it is new) and undoes the dense phase.",
            icon=":material/block:",
        )
        return
    start = found[found["stage"] == "sparse"].iloc[0]["held_out"]
    worse = [str(int(n)) for n, error in zip(pruned["round"], pruned["held_out"], strict=True) if error > start]
    warning = (
        f" Stopping early hurts: pruned after round{'s' * (len(worse) > 1)} {', '.join(worse)}, the layer is worse "
        "than after the first prune."
        if worse
        else ""
    )
    st.info(
        "**With the memory, the mask moves.** What every prune removes is added up. A weight that the others cannot "
        "replace is missed in every round, grows in the memory, and wins its place back from another. In the end "
        f"{per_cent(changed)} of the mask is new.{warning}",
        icon=":material/history:",
    )


def pictures(found: pd.DataFrame) -> None:
    """Errors and masks by round, and the distribution moving."""
    st.subheader("What every round costs, and the prune after it", anchor=False)
    charts.show(lab_figures.rounds(found), "rounds", "Output errors by round, and the share of the mask that changes")
    st.caption(
        "Solid: held-out text. Dotted: calibration text. The gap between them is overfitting; more shrinkage narrows "
        "it. Orange starts with the first prune and shows after every round what pruning there would cost."
    )
    st.subheader("The weights, round by round", anchor=False)
    moving = layer_figures.player(found)
    assert moving is not None, "there is at least one round"
    charts.show(moving, "player", "Histogram of the re-dense weights in every round, and what their prune keeps")
    st.caption("Blue: the re-dense weights. Orange: what is left when they are pruned. Grey: the dense layer.")


def origin() -> None:
    """Where the layer is from, and what the lab leaves out."""
    about = layer().about
    rows, columns = layer().seen.weight.shape
    with st.expander("What this layer is"):
        st.markdown(
            f"`{about['layer']}` of the model `{about['model']}`: {rows} outputs, {columns} inputs. Its inputs were "
            f"recorded in the dense model, on {about['seen windows']} of the model’s own text for calibration and on "
            f"another {about['held_out windows']} as held-out text. Made by `{about['command']}`.\n\n"
            "Two things that a whole run has are left out, for they need the whole model: inputs that come out of "
            "pruned layers, and β, the share of the dense model’s outputs in the target. Both prunes see the Gram "
            "matrix with the chosen shrinkage, so that only the dense phase can change the mask."
        )


setting = choose(pruners)
try:
    found = computed(*setting, pruners.sha256(setting[0]), pruners)
    numbers(found)
    why(found, setting[-1])
    pictures(found)
    origin()
except SDSError as error:
    layout.refuse(error)
glossary_box.explain(
    "re-dense", "memory", "round", "output error", "held-out text", "overfitting", "mask", "pattern", "Gram matrix"
)
