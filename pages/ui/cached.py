"""Numbers from finished files, kept in memory until the files change."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from sds_core.errors import SDSError

if TYPE_CHECKING:
    import pandas as pd

    from sds_core.runs.experiment import Experiment
    from sds_core.runs.experiment_record import ExperimentRecord
    from sds_core.runs.run_folder import Run
    from sds_core.runs.variant import Variant


READ = "records"
"""In the session: what was read of an experiment's runs, so that the next drawing reads what was added."""


def experiment_record(experiment: Experiment, variants: list[Variant]) -> ExperimentRecord:
    """The numbers of an experiment by variant and stage.

    Raises:
        SDSError: a log is broken.
    """
    from sds_core.runs.experiment_record import ExperimentRecord

    found = ExperimentRecord(experiment, variants, st.session_state.get(READ))
    st.session_state[READ] = found.by_run
    return found


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
    """A run in a line, without torch, so that the first page has it at once.

    `state`; `asked`, its options as they were given; `note`, the first line of its note; `last` and `value`, the stage
    that it ends with and its perplexity, once there is one.
    """
    from sds_core.runs import note
    from sds_core.runs.run_folder import open_run

    line: dict[str, Any] = {"state": "broken", "last": None, "value": None, "asked": {}, "note": ""}
    try:
        opened = open_run(run)
        line["asked"] = opened.asked()
        line["note"] = note.read(opened).partition("\n")[0]
        result = opened.folder / "result.json"
        finished = result.exists()
        if finished:
            line["last"], line["value"] = _last(str(opened.folder), result.stat().st_mtime_ns)
        line["state"] = opened.state([] if finished else None)
    except (SDSError, OSError):
        pass  # it stays broken or has just gone; its own page says why
    return line


@st.cache_data(max_entries=500, show_spinner=False)
def _last(folder: str, stamp: int) -> tuple[str, float]:
    """The last stage of a finished run, and its perplexity."""
    from sds_core.runs.run_folder import Run

    result = Run(Path(folder)).finished_result()
    return result.last, result.last_perplexity.value


@dataclass(frozen=True)
class ExperimentLine:
    """An experiment in a line: its lowest perplexity, else what it is doing."""

    name: str
    said: str
    lowest: float | None
    """Of its pruned models; a re-dense model has no zeros and is not ranked."""


def experiments() -> list[ExperimentLine]:
    """Experiments, the one with the newest run first; like `summary` without torch."""
    from sds_core.pruning.perplexity import format_perplexity
    from sds_core.runs.run_folder import ids

    groups: dict[str, list[dict[str, Any]]] = {}
    for line in map(summary, ids()):
        if name := line["asked"].get("experiment"):
            groups.setdefault(str(name), []).append(line)
    found = []
    for name, lines in groups.items():
        values = [line["value"] for line in lines if line["value"] is not None and line["last"] != "redense"]
        live = any(line["state"] in ("queued", "running") for line in lines)
        lowest = None if live else min(values, default=None)
        said = "running" if live else lines[0]["state"] if lowest is None else format_perplexity(lowest)
        found.append(ExperimentLine(name, said, lowest))
    return found
