"""Keep the state of a page in its address: widgets are set from it and write to it; a wrong value is refused."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from pages.ui import layout

RUNS = ("run", "runs")
"""Parameters of every page that name runs."""


def choice(name: str, allowed: Sequence[str], default: str) -> str:
    """Return a parameter's value; the default if it is missing or, with a sentence on the page, not allowed."""
    asked = st.query_params.get(name, default)
    if asked not in allowed:
        layout.refuse(f"“{name}={asked[:40]}” in the address is not one of {', '.join(allowed)}; here is {default}.")
        return default
    return asked


def whole(name: str, low: int, high: int, default: int) -> int:
    """The same for a whole number from `low` to `high`."""
    asked = st.query_params.get(name, str(default))
    if not (asked.isascii() and asked.isdigit() and len(asked) < 10 and low <= int(asked) <= high):
        layout.refuse(
            f"“{name}={asked[:40]}” in the address is not a whole number from {low} to {high}; here is {default}."
        )
        return default
    return int(asked)


def remember(page: str, names: Sequence[str]) -> None:
    """Keep a page's parameters for its next visit, or restore those of the last one: switching pages drops them.

    Args:
        page: session key under which they are kept.
        names: of the parameters.
    """
    if any(name in st.query_params for name in names):
        st.session_state[page] = {name: st.query_params[name] for name in names if name in st.query_params}
    else:
        kept = st.session_state.get(page, {})
        st.query_params.update({name: value for name, value in kept.items() if name not in RUNS or _exist(value)})


def _exist(runs: str) -> bool:
    """Whether runs in an address are still there."""
    from sds_core.runs.run_folder import ids

    return set(runs.split(",")) <= {"", *ids()}


def write(name: str, key: str) -> None:
    """Write a widget's value into the address; for its `on_change`."""
    st.query_params[name] = str(st.session_state[key])
