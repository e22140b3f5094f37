"""The list of runs whose chosen rows are the runs in the address."""

from __future__ import annotations

import hashlib
from typing import Any

import streamlit as st

from pages.ui import layout
from sds_core.errors import SDSError

OFFERED = 12
"""Most runs that are chosen where the address names none."""
ALIKE = ("model", "dtype", "evaluation", "eval_windows", "eval_length", "bos")
"""Options in which such runs are like the newest finished one."""
LISTED = 6
"""Rows of the list of runs in view; the others are scrolled to."""


def choose(names: list[str], lines: dict[str, dict[str, Any]]) -> list[str]:
    """The list of all runs, whose chosen rows are the address's runs in the list's order."""
    import pandas as pd

    chosen = _asked_for(names, lines)
    st.session_state["compared"] = chosen
    key = key_of(names)
    rows = [names.index(name) for name in chosen]
    if st.session_state.get(key, {}).get("selection", {}).get("rows") != rows:
        st.session_state[key] = {"selection": {"rows": rows, "columns": [], "cells": []}}

    def turn_to_rows() -> None:
        picked = sorted(st.session_state[key]["selection"]["rows"])
        st.query_params["runs"] = ",".join(names[i] for i in picked)

    shown = [{"run": name} | _about(lines[name]) for name in names]
    st.dataframe(
        pd.DataFrame(shown),
        key=key,
        on_select=turn_to_rows,
        selection_mode="multi-row",
        hide_index=True,
        placeholder="",
        height=38 + 35 * min(len(names), LISTED),
        column_config={"perplexity": st.column_config.NumberColumn(format="%.2f")},
        alt="All runs; the chosen rows are compared",
    )
    return chosen


def key_of(names: list[str]) -> str:
    """The list's key: row numbers mean other runs in another list, so another list is another widget."""
    return f"chosen-{hashlib.sha256(','.join(names).encode()).hexdigest()[:8]}"


def _about(line: dict[str, Any]) -> dict[str, Any]:
    """A run's row in the list."""
    known = {"state": line["state"], "perplexity": line["value"], "title": line["asked"].get("title", "")}
    asked = {name: line["asked"].get(name, "") for name in ("pattern", "seed", "model")}
    return known | {"made by": _name(line["asked"])} | asked | {"note": line["note"]}


def _name(asked: dict[str, Any]) -> str:
    """The name of a run; empty where its configuration is broken."""
    from sds_core.runs.config import RunConfig
    from sds_core.runs.names import name_of

    try:
        return name_of(RunConfig.from_dict(asked))
    except SDSError:
        return ""


def _asked_for(names: list[str], lines: dict[str, dict[str, Any]]) -> list[str]:
    """The runs in the address, without those that there are not; else those that were chosen before in this visit, or
    the newest that can be compared."""
    if "runs" not in st.query_params:
        before = [name for name in st.session_state.get("compared", ()) if name in names]
        st.query_params["runs"] = ",".join(before or _newest(names, lines))
    asked = [name for name in st.query_params["runs"].split(",") if name]
    unknown = [name for name in dict.fromkeys(asked) if name not in names]
    if unknown:
        layout.refuse("there is no run " + ", ".join(f"“{name[:60]}”" for name in unknown[:5]))
    return [name for name in names if name in asked]


def _newest(names: list[str], lines: dict[str, dict[str, Any]]) -> list[str]:
    """Finished runs that can be compared with the newest one."""
    finished = [name for name in names if lines[name]["state"] == "finished"]
    wanted = [lines[finished[0]]["asked"].get(option) for option in ALIKE] if finished else []
    alike = [name for name in finished if [lines[name]["asked"].get(option) for option in ALIKE] == wanted]
    return alike[:OFFERED]
