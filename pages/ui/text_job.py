"""The process that answers a text query: its button, its progress, and why there is no result yet."""

from __future__ import annotations

import streamlit as st

from pages.ui import layout, progress
from sds_core.errors import SDSError
from sds_core.runs import progress as run_progress
from sds_core.texts.job import TextJob
from sds_core.texts.query import TextQuery


def ask(query: TextQuery) -> tuple[TextJob, str] | None:
    """Show the button that starts a process; return the query's folder and its state."""
    try:
        job = TextJob.of(query)
        state = job.state()
        live = state in progress.LIVE
        label, icon = "Ask the models", ":material/forum:"
        if st.button(label, key="ask", type="primary", icon=icon, disabled=live, width="stretch"):
            job.launch(query)
            st.rerun()
    except SDSError as error:
        layout.refuse(error)
        return None
    return job, state


def show_state(job: TextJob, state: str, query: TextQuery) -> None:
    """Show progress while the process is live, else why there is no result yet."""
    match state:
        case "new":
            prompts = f"{len(query.prompts)} prompts" if len(query.prompts) > 1 else "the prompt"
            st.markdown(
                f"**Ask the models:** the dense one and {len(query.runs)} beside it read {prompts} and continue each "
                f"by up to {query.tokens} tokens. The result is kept: the same query shows it at once."
            )
        case "failed":
            layout.refuse(run_progress.progress(job.log.read()).message)
        case "cancelled":
            st.info("Cancelled.", icon=progress.STATES[state][1])
        case "interrupted":
            st.warning("The process that worked on this is gone; ask again.", icon=progress.STATES[state][1])
        case _ if state in progress.LIVE:
            _follow(job, state)


def _follow(job: TextJob, state: str) -> None:
    """Poll the process while it is live; redraw the page when its state changes."""

    @st.fragment(run_every=0.5)
    def poll() -> None:
        try:
            now, events = job.state(), job.log.read()
        except SDSError as error:
            layout.refuse(error)
            return
        if now != state:
            st.rerun()
        text = layout.plain(run_progress.progress(events).activity)
        progress.cancellable(job, "Cancelling …" if job.cancel_requested else text)

    poll()
