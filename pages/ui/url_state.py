"""Keep the state of a page in its address: widgets are set from it and write to it; a wrong value is refused."""

from __future__ import annotations

import math
from collections.abc import Sequence

import streamlit as st

from pages.ui import layout

RUNS, EXPERIMENT = ("run", "runs"), "experiment"
"""Parameters of every page that name runs, and the one that names an experiment."""


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


def number(name: str, low: float, high: float, default: float) -> float:
    """The same for a number from `low` to `high`."""
    asked = st.query_params.get(name, f"{default:g}")
    try:
        found = float(asked)
    except ValueError:
        found = math.nan
    if not low <= found <= high:
        layout.refuse(
            f"“{name}={asked[:40]}” in the address is not a number from {low:g} to {high:g}; here is {default:g}."
        )
        return default
    return found


def remember(page: str, names: Sequence[str]) -> None:
    """Keep a page's parameters for its next visit, or restore those of the last one: switching pages drops them.

    Runs and experiments that have been deleted since are forgotten.

    Args:
        page: session key under which they are kept.
        names: of the parameters.
    """
    if any(name in st.query_params for name in names):
        st.session_state[page] = {name: st.query_params[name] for name in names if name in st.query_params}
    else:
        kept = st.session_state.get(page, {})
        st.query_params.update({name: value for name, value in kept.items() if _exists(name, value)})


def _exists(name: str, value: str) -> bool:
    """Whether the runs or the experiment that a parameter names are still there."""
    if name in RUNS:
        from sds_core.runs.run_folder import ids

        return set(value.split(",")) <= {"", *ids()}
    if name == EXPERIMENT:
        from sds_core.runs.experiment import experiments

        return value in ("", *(one.name for one in experiments()))
    return True


def write(name: str, key: str) -> None:
    """Write a widget's value into the address; for its `on_change`."""
    st.query_params[name] = str(st.session_state[key])
