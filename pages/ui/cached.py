"""Numbers from finished files, kept in memory until the files change."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from sds_core.errors import SDSError

if TYPE_CHECKING:
    import pandas as pd

    from sds_core.runs.run_folder import Run


def record(run: Run) -> pd.DataFrame:
    """The distributions of a run so far.

    Raises:
        SDSError: a file is broken.
    """
    files = sorted((run.folder / "distributions").glob("*.parquet"))
    return _record(str(run.folder), tuple((path.name, path.stat().st_mtime_ns) for path in files))


@st.cache_data(max_entries=4, show_spinner=False)
def _record(folder: str, stamp: tuple) -> pd.DataFrame:
    from sds_core.runs.layer_stats import load

    return load(Path(folder))


def summary(run: str) -> dict[str, Any]:
    """A run in a line: `state`; `asked`, its options as they were given; `note`, the first line of its note; and
    `value`, the last perplexity, once there is one. It needs no torch, so that the first page has it at once."""
    from sds_core.runs import note
    from sds_core.runs.run_folder import open_run

    line: dict[str, Any] = {"state": "broken", "value": None, "asked": {}, "note": ""}
    try:
        opened = open_run(run)
        line["asked"] = opened.asked()
        line["note"] = note.read(opened).partition("\n")[0]
        result = opened.folder / "result.json"
        finished = result.exists()
        if finished:
            line["value"] = _last_perplexity(str(opened.folder), result.stat().st_mtime_ns)
        line["state"] = opened.state([] if finished else None)
    except SDSError:
        pass  # it stays broken; its own page says why
    return line


@st.cache_data(max_entries=500, show_spinner=False)
def _last_perplexity(folder: str, stamp: int) -> float:
    from sds_core.runs.run_folder import Run

    return Run(Path(folder)).finished_result().last_perplexity.value
