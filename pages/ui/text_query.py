"""The query of the Text page: shown by widgets, kept in the address."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

import streamlit as st

from pages.ui import layout, url_state
from sds_core.errors import SDSError
from sds_core.lesson.glossary import GLOSSARY
from sds_core.runs.names import called
from sds_core.runs.run_folder import Run
from sds_core.texts.job import usual_runs
from sds_core.texts.query import HOTTEST, MOST_FOLLOWING, MOST_RUNS, TextQuery

PARAMETERS = ("runs", "prompts", "prompt", "continued", "tokens", "temperature", "sampling-seed")
LONGEST = 8_100
"""Characters of all prompts together."""


def choose(runs: list[Run], usual: tuple[str, ...]) -> TextQuery | None:
    """Show the widgets, and return the query; None, with the reason on the page, if it is not valid.

    Args:
        runs: that can be queried, oldest first.
        usual: the prompts if the address names none.
    """
    names = called({run.id: run.config for run in runs})
    _read_address(runs, usual)
    turn = partial(_write_address, list(names))
    st.multiselect(
        "Beside the dense model",
        list(names),
        key="text-runs",
        format_func=names.__getitem__,
        max_selections=MOST_RUNS,
        on_change=turn,
        help="Finished runs of one model whose weights were kept. Runs that differ in the seed alone are judged by "
        "their mean.",
    )
    st.text_area(
        "Prompts, blank lines between them",
        key="text-prompts",
        max_chars=LONGEST,
        height=126,
        on_change=turn,
        help="Every model reads each and continues it as it stands: without a chat template, as with any text.",
    )
    _choose_sampling(turn)
    try:
        return TextQuery(
            runs=tuple(name for name in names if name in st.session_state["text-runs"]),
            prompts=split(st.session_state["text-prompts"]),
            tokens=st.session_state["text-tokens"],
            temperature=st.session_state["text-temperature"] or None,
            sampling_seed=st.session_state["text-seed"],
        )
    except SDSError as error:
        layout.refuse(error)
        return None


def _read_address(runs: list[Run], usual: tuple[str, ...]) -> None:
    """Give the widgets the values in the address."""
    st.session_state["text-runs"] = _asked_for(runs)
    st.session_state["text-prompts"] = _prompts(usual)
    st.session_state["text-tokens"] = url_state.whole("tokens", 1, MOST_FOLLOWING, TextQuery.tokens)
    st.session_state["text-temperature"] = url_state.number("temperature", 0, HOTTEST, 0)
    st.session_state["text-seed"] = url_state.whole("sampling-seed", 0, 999, TextQuery.sampling_seed)


def _write_address(names: list[str]) -> None:
    """Write the widgets' values into the address, the runs in the order of `names`."""
    st.query_params["runs"] = ",".join(name for name in names if name in st.session_state["text-runs"])
    st.query_params["prompts"] = st.session_state["text-prompts"]
    st.query_params["tokens"] = str(st.session_state["text-tokens"])
    st.query_params["temperature"] = f"{st.session_state['text-temperature']:g}"
    st.query_params["sampling-seed"] = str(st.session_state["text-seed"])
    st.query_params.pop("prompt", None)  # another query has other prompts


def _choose_sampling(turn: Callable[[], None]) -> None:
    """Show the widgets for the continuation's length and sampling."""
    with st.popover("Length and sampling", width="stretch"):
        st.number_input(
            "Tokens that follow", 1, MOST_FOLLOWING, key="text-tokens", on_change=turn, help=GLOSSARY["greedy"]
        )
        st.number_input(
            "Temperature",
            0.0,
            HOTTEST,
            step=0.1,
            format="%.2f",
            key="text-temperature",
            on_change=turn,
            help="Above 0, each model writes a second continuation, whose tokens are drawn by their probability.",
        )
        st.number_input("Seed of sampling", 0, 999, key="text-seed", on_change=turn)


def split(text: str) -> tuple[str, ...]:
    """Return the prompts in a text, separated by blank lines."""
    return tuple(prompt.strip("\n") for prompt in re.split(r"\n[ \t]*\n", text) if prompt.strip())


def _asked_for(runs: list[Run]) -> list[str]:
    """Return the runs in the address that can be queried, else the usual ones, oldest first."""
    here = [run.id for run in runs]
    if "runs" not in st.query_params:
        return [run.id for run in usual_runs(runs)]
    asked = list(dict.fromkeys(filter(None, st.query_params["runs"].split(","))))
    if unknown := [name for name in asked if name not in here]:
        layout.refuse("there is no finished run with weights " + ", ".join(f"“{name[:60]}”" for name in unknown[:5]))
    found = [name for name in here if name in asked]
    if len(found) > MOST_RUNS:
        layout.refuse(f"{len(found)} runs are in the address, {MOST_RUNS} are allowed: the oldest are taken")
    return found[:MOST_RUNS]


def _prompts(usual: tuple[str, ...]) -> str:
    """Return the prompts in the address; the usual ones where there are none."""
    asked = st.query_params.get("prompts", "\n\n".join(usual))
    if len(asked) > LONGEST:
        layout.refuse(
            f"the text in the address has {len(asked)} characters, {LONGEST} are allowed: the rest is cut off"
        )
    return asked[:LONGEST]
