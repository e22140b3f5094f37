"""Text: how the dense model and the models of finished runs read and continue a text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from pages.ui import glossary_box, layout, url_state
from sds_core.errors import SDSError
from sds_core.runs.typed_json import parse

if TYPE_CHECKING:
    from sds_core.texts.query import TextQuery, TextResult

layout.routed()


def example() -> TextResult:
    """Return the shipped result."""
    from sds_core.texts.query import EXAMPLE, TextResult

    return parse(TextResult, EXAMPLE.read_text(encoding="utf-8"))


def nothing_to_ask() -> None:
    """Explain what to do if no run has weights."""
    st.markdown(
        "An example, from runs with the demo’s options. None of the runs here has its weights: the shipped examples "
        "come without them. To use a text of your own, prune the demo live on the Start page, or create runs in the "
        "Studio; weights are kept unless you say otherwise."
    )
    with st.container(horizontal=True):
        kept = layout.onward({})
        st.page_link("pages/start.py", label="Start the demo", icon=":material/play_arrow:", query_params=kept)
        st.page_link("pages/studio.py", label="Create a run", icon=":material/tune:", query_params=kept)


def explain(result: TextResult | None, query: TextQuery | None) -> None:
    """Show the numbers, the command and the words, each behind a button."""
    from pages.ui import text_result

    with st.container(horizontal=True):
        if result:
            text_result.notes(result)
        if query:
            with st.popover("Command"):
                st.markdown("The same on the command line:")
                st.code(query.command(), language=None, wrap_lines=True)
        glossary_box.popover("token", "loss", "greedy", "dense", "perplexity")


def page() -> None:
    """Query on the left, result on the right."""
    from pages.ui import text_job, text_query, text_result
    from sds_core.texts.job import askable

    url_state.remember("text address", text_query.PARAMETERS)
    runs, query, asked, result = askable(), None, None, None
    with st.container(key="columns"):
        with st.container(key="beside-text"):
            st.html("<h1>What does the difference sound like?</h1>")
            if runs:
                query = text_query.choose(runs, example().prompts)
                asked = text_job.ask(query) if query else None
            else:
                nothing_to_ask()
                result = example()
            try:
                result = asked[0].result() if asked else result
            except SDSError as error:
                layout.refuse(error)
                asked = None
            explain(result, query)
        with st.container(key="text-right"):
            if result:
                text_result.show(result)
            elif asked and query:
                text_job.show_state(*asked, query)


layout.compact(size=15)
with st.spinner("Loading the engine …"):  # torch takes seconds the first time: the navigation need not wait for it
    import sds_core.texts.job  # noqa: F401
page()
