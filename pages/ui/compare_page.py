"""The page Compare: the chosen runs in the address, the picture, and the way from it to a layer's details."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import streamlit as st

from pages.ui import compare_choice, glossary_box, layout, studio_details, url_state
from pages.ui.compare_numbers import Numbers
from pages.ui.model_layers import Model
from pages.ui.pictures import compare
from sds_core.comparison.outcomes import finished_outcomes
from sds_core.errors import SDSError
from sds_core.runs.run_folder import ids, open_run

if TYPE_CHECKING:
    from pages.ui.compare_choice import Choice
    from pages.ui.pictures.component import Pick
    from sds_core.comparison.outcomes import Outcome

KEY = "compare"
OPENED = "compare opens"
"""Session key of the layer that was opened on the map: a callback cannot switch pages."""
STYLE = """<style>
[data-testid=stMainBlockContainer] {{ position: relative; }}
.st-key-scope {{ position: absolute; top: calc({top}px + var(--alert, 0px)); right: 20px; z-index: 2; width: 220px; }}
.st-key-scope p, .st-key-scope [data-testid=stSelectbox] {{ font-size: 14px; }}
.st-key-compare {{ --beside: 236px; }}
</style>"""
"""The box of experiments is in the picture's first line, at its right."""


def picture(choice: Choice, known: list[Outcome]) -> None:
    """Draw the picture.

    Raises:
        SDSError: a record is broken.
    """
    data = Numbers(choice.offered, known).read(choice.asked, layout.presenting())
    model = Model(data.blocks, data.linears)
    compare.mount(data, key=KEY, on_pick=lambda pick: picked(pick, choice), on_open=lambda what: opened(what, model))


def picked(pick: Pick, choice: Choice) -> None:
    """Write the pick into the address; unknown values are ignored when it is read.

    All runs need no names where without names it would be the same runs.
    """
    picks = set(map(str, pick["runs"]))
    if picks == choice.every and picks == compare_choice.choose(choice.scope, finished_outcomes()).every:
        st.query_params.pop("runs", None)
    else:
        st.query_params["runs"] = ",".join(map(str, pick["runs"]))
    for name in ("ref", "a"):
        if pick[name]:
            st.query_params[name] = str(pick[name])
        else:
            st.query_params.pop(name, None)


def opened(what: Pick, model: Model) -> None:
    """Remember the layer to open."""
    if layer := model.address(what["at"]):
        st.query_params["layer"] = layer
        st.session_state[OPENED] = (str(what["run"]), layer)


def open_details() -> None:
    """Switch to the Studio's details of the layer that was opened."""
    if found := st.session_state.pop(OPENED, None):
        run, layer = found
        address = layout.onward(studio_details.address(open_run(run), layer))
        st.switch_page(layout.page_file("studio"), query_params=address)


def show(empty: str, more: Callable[[Choice, list[Outcome]], None] | None = None) -> None:
    """The picture, and what belongs below it.

    Args:
        empty: said where there are no runs.
        more: shows what else is known; on a projector there is no room below the picture.
    """
    try:
        open_details()
        _page(empty, more)
    except SDSError as error:
        layout.refuse(error)


def _page(empty: str, more: Callable[[Choice, list[Outcome]], None] | None) -> None:
    if not ids():
        st.info(empty, icon=":material/info:")
        return
    url_state.remember("compare address", compare_choice.PARAMETERS)
    glossary_box.in_bar(
        "perplexity", "standard error", "paired", "output error", "block", "Wanda", "SparseGPT", "SDS", "memory"
    )
    st.html(STYLE.format(top=layout.BOTTOM if layout.presenting() else layout.TOP))
    experiment = compare_choice.scope()
    known = finished_outcomes()
    choice = compare_choice.choose(experiment, known, compare_choice.asked_for())
    if choice.offered:
        picture(choice, known)
    else:
        st.info("No run is finished yet; results appear once one is.", icon=":material/info:")
    if more and not layout.presenting():
        more(choice, known)
