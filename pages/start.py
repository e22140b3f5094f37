"""Start: what pruning does to a model, as a moving picture, and where to begin. Importing it stays cheap."""

from __future__ import annotations

import streamlit as st

from pages.ui import cached, layout
from sds_core.errors import SDSError

layout.routed()

HEADING = (
    "Half the weights in every layer of a language model set to zero: see what that breaks, and what pruning, filling "
    "in and pruning again wins back."
)
LIVE = "demo-live"
"""Name of the experiment that is started here."""
LISTED = 6
"""Experiments in the line at the bottom."""
RECENT = 40
"""Height of that line with the gap above it."""
STYLE = """<style>
.st-key-beside-words h1 { font-size: 32px; line-height: 40px; font-weight: 600; letter-spacing: -0.01em; padding: 0;
  text-wrap: pretty; margin-bottom: 28px; }
.st-key-beside-words .stPageLink a { padding: 0; border-radius: 0; border-bottom: 1px solid currentcolor; }
.st-key-beside-words .stButton { width: 290px; }
.st-key-beside-words .stButton button { width: 100%; min-height: 46px; }
.st-key-beside-words .stButton p, .st-key-beside-words .stPageLink p { font-size: 17px; }
.st-key-recent { border-top: 1px solid var(--st-border-color, rgb(128 128 128 / 30%)); padding-top: 4px;
  flex-wrap: nowrap !important; overflow: hidden; height: 32px; }
.st-key-recent p { font-size: 14px; white-space: nowrap; }
@media (min-width: 901px) {
  .st-key-opening { display: grid; grid-template-columns: 400px minmax(0, 1fr); gap: 60px; }
  .st-key-beside-words { margin-top: 8px; }
}
@media (max-width: 900px) {
  .st-key-beside-words { flex-flow: row wrap; align-items: center; }
  .st-key-beside-words .stHtml { width: 100%; }
  .st-key-beside-words .stButton { width: 220px; }
}
</style>"""


def show_examples() -> str:
    """Unpack the finished examples; return the name of their experiment.

    Raises:
        SDSError: the disk is full.
    """
    from sds_core.runs.examples import EXPERIMENT, unpack_all

    unpack_all()
    return EXPERIMENT


def prune_live() -> str:
    """Start phase 1 of the demo, unless it was started before; return the name of its experiment.

    Raises:
        SDSError: it cannot be created or started.
    """
    from sds_core.runs.examples import first_phase
    from sds_core.runs.experiment import Experiment, experiments
    from sds_core.runs.launch_phases import launch_phase
    from sds_core.runs.plugins import load_registry
    from sds_core.runs.variant import BASE, Variant

    first, *_ = first_phase()
    experiment = next((one for one in experiments() if one.name == LIVE), Experiment(LIVE, first))
    variants = [Variant(BASE, first.pruner)]
    if experiment.next_phase(variants) and not experiment.live():
        launch_phase(experiment, variants, load_registry())
    return LIVE


def words() -> None:
    """The heading, and the ways to begin."""
    st.html(f"<h1>{HEADING}</h1>")
    shown = st.button("See the finished example", key="examples", type="primary")
    live = st.button("Prune it live", key="live", help="Prunes a small language model on this computer, offline.")
    if shown or live:
        try:
            with st.spinner("Loading the engine …"):
                name = show_examples() if shown else prune_live()
        except SDSError as error:
            layout.refuse(error)
        else:
            st.switch_page("pages/studio.py", query_params=layout.onward({"experiment": name}))
    steps = layout.onward({"step": "1"})
    st.page_link("pages/walk.py", label="Walk me through: eight questions", query_params=steps)


def picture() -> None:
    """The example, moving."""
    from pages.ui import opening
    from pages.ui.pictures import start

    try:
        numbers = opening.numbers(layout.presenting())
    except SDSError as error:
        layout.refuse(error)
        return
    if numbers is None:
        st.info("This copy came without the finished examples.", icon=":material/info:")
    else:
        start.mount(numbers, key="start")


def recent() -> None:
    """List the newest experiments in one line, each with its lowest perplexity or its state."""
    lines = cached.experiments()[:LISTED]
    if not lines:
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="medium", key="recent"):
        st.markdown("Recent", width="content")
        for line in lines:
            st.page_link(
                "pages/studio.py",
                label=f"{layout.plain(line.name)} **{line.status}**",
                query_params=layout.onward({"experiment": line.name}),
                help="Lowest perplexity of its pruned models" if line.lowest else None,
                width="content",
            )


layout.compact(above=RECENT)
st.html(STYLE)
with st.container(key="opening"):
    with st.container(key="beside-words"):
        words()
    with st.container(key="picture"):
        picture()
recent()
