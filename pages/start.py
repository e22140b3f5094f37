"""Start: what this is, where to begin, and the newest runs. Nothing heavy is imported before it is asked for."""

from __future__ import annotations

import streamlit as st

from pages.ui import cached, charts, layout, progress
from sds_core.errors import SDSError

layout.routed()

LISTED = 8
"""Runs in the list; the Run page has all."""


def door(title: str, sentence: str) -> None:
    """A heading and a sentence; what leads on comes below."""
    st.subheader(title, anchor=False)
    st.markdown(sentence)


def begin_demo() -> str:
    """Make the demo's runs and start them; their ids, as an address of the Compare page has them.

    Raises:
        SDSError: they cannot be made or started.
    """
    from sds_core.runs.new_run import create
    from sds_core.runs.sweep import DEMO, method_configs
    from sds_core.runs.worker import launch

    runs = [create(config) for config in method_configs(DEMO)]
    launch(runs)
    return ",".join(run.id for run in runs)


def take_in_examples() -> str:
    """Put the demo's finished runs, which come along, among the user's; their ids as an address has them.

    Raises:
        SDSError: the disk is full.
    """
    from sds_core.runs.examples import take_in

    return ",".join(run.id for run in take_in())


def doors() -> None:
    """The three ways to begin, beside each other where there is room."""
    with st.container(horizontal=True):  # wraps where the window is narrow; columns would cut the links off
        learn, demo, run = (st.container(border=True, width=256, height=320) for _ in range(3))
    with learn:
        door("Learn", "Guess, see, and find out why; nothing need be known before.")
        with st.container(gap=None):
            st.page_link("pages/walk.py", label="Walk: eight questions", icon=":material/directions_walk:")
            st.page_link("pages/micro.py", label="Micro: eight by eight", icon=":material/grid_on:")
            st.page_link("pages/lab.py", label="Layer lab: a real layer", icon=":material/science:")
    with demo:
        door(
            "Try the demo",
            "Prune a small language model in four ways and compare them. It takes some minutes and no internet.",
        )
        started = st.button("Start the demo", key="demo", icon=":material/play_arrow:", type="primary")
        looked = st.button("Look at its finished runs", key="examples", icon=":material/inventory_2:")
    with run:
        door("Prune a model", "Choose a model, a method and how much to prune; go on step by step.")
        st.page_link("pages/run.py", label="Open the Run page", icon=":material/tune:")
    if started or looked:
        try:
            with st.spinner("Loading the engine …"):
                made = begin_demo() if started else take_in_examples()
        except SDSError as error:
            layout.refuse(error)
        else:
            st.switch_page("pages/compare.py", query_params={"runs": made})


def recent() -> None:
    """The newest runs, each a link."""
    from sds_core.runs.run_folder import ids

    st.subheader("Recent runs", anchor=False)
    names = ids()
    if not names:
        st.info(
            "There are no runs yet. Start the demo above, or prune a model of your own on the Run page.",
            icon=":material/info:",
        )
        return
    for name in names[:LISTED]:
        line = cached.summary(name)
        left, middle, right = st.columns([4, 2, 3], vertical_alignment="center")
        title = layout.plain(str(line["asked"].get("title") or ""))
        with left.container(gap=None):
            label = f"{title} · {name}" if title else name
            st.page_link("pages/run.py", label=label, query_params={"run": name})
            if line["note"]:
                st.caption(layout.plain(line["note"]))
        with middle:
            progress.badge(line["state"])
        right.markdown("" if line["value"] is None else f"perplexity {charts.number(line['value'])}")
    if len(names) > LISTED:
        st.page_link("pages/run.py", label=f"All {len(names)} runs are on the Run page")


st.title("What does pruning do to a language model?", anchor=False)
st.markdown(
    "**Pruning** sets many of a model’s weights to zero. This app shows what that costs and what wins some of it back: "
    "**Sparse-Dense-Sparse** prunes the model, lets all its weights move again, and prunes it once more. "
    "How well a model predicts held-out text is its **perplexity**: lower is better. "
    "Everything runs on this computer."
)
doors()
recent()
