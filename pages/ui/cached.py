"""Numbers from finished files, kept in memory until the files change."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from sds_core.errors import SDSError
from sds_core.runs.job_folder import LIVE

if TYPE_CHECKING:
    import pandas as pd

    from sds_core.options import Overrides
    from sds_core.runs.experiment import Experiment
    from sds_core.runs.experiment_record import ExperimentRecord
    from sds_core.runs.run_folder import Run
    from sds_core.runs.variant import Variant


READ = "records"
"""Session key of the records of an experiment's runs, so that the next drawing reads only what was added."""


def experiment_record(experiment: Experiment, variants: list[Variant]) -> ExperimentRecord:
    """Return the numbers of an experiment by variant and stage.

    Raises:
        SDSError: a log is broken.
    """
    from sds_core.runs.experiment_record import ExperimentRecord

    found = ExperimentRecord(experiment, variants, st.session_state.get(READ))
    st.session_state[READ] = found.by_run
    return found


def record(run: Run) -> pd.DataFrame:
    """Return the distributions of a run so far.

    Raises:
        SDSError: a file is broken, or gone.
    """
    from sds_core.runs.distribution_files import files, stamp

    return _record(str(run.folder), tuple((path.name, *stamp(path)) for _, path in files(run.folder)))


@st.cache_data(max_entries=4, show_spinner=False)
def _record(folder: str, stamp: tuple) -> pd.DataFrame:
    from sds_core.runs.layer_stats import load

    return load(Path(folder))


@dataclass
class RunLine:
    """A run in a line."""

    state: str = "broken"
    config: Overrides = field(default_factory=dict)
    """Unchecked."""
    last: str | None = None
    """The stage that it ends with, once it is finished."""
    perplexity: float | None = None
    """Of that stage."""


def run_line(name: str) -> RunLine:
    """Return a run in a line, without torch, so that the first page has it at once."""
    from sds_core.runs.run_folder import open_run

    line = RunLine()
    try:
        run = open_run(name)
        line.config = run.raw_config()
        result = run.result_path
        if result.exists():
            line.last, line.perplexity = _last(str(run.folder), result.stat().st_mtime_ns)
        line.state = run.state()
    except (SDSError, OSError):
        pass  # it stays broken or has just gone; its own page says why
    return line


@st.cache_data(max_entries=500, show_spinner=False)
def _last(folder: str, stamp: int) -> tuple[str, float]:
    """Return the last stage of a finished run, and its perplexity."""
    from sds_core.runs.run_folder import Run

    result = Run(Path(folder)).finished_result()
    return result.last, result.last_perplexity.value


@dataclass(frozen=True)
class ExperimentLine:
    """An experiment in a line: its lowest perplexity, else its state."""

    name: str
    status: str
    lowest: float | None
    """Of its one-shot pruned models; a re-dense model has no zeros and is not ranked."""


def experiments() -> list[ExperimentLine]:
    """Return the experiments, the one with the newest run first; without torch, like `run_line`."""
    from sds_core.pruning.perplexity import format_perplexity
    from sds_core.runs.run_folder import ids

    groups: dict[str, list[RunLine]] = {}
    for line in map(run_line, ids()):
        if name := line.config.get("experiment"):
            groups.setdefault(str(name), []).append(line)
    found = []
    for name, lines in groups.items():
        one_shot = [line for line in lines if line.last not in ("redense", "distilled")]
        values = [line.perplexity for line in one_shot if line.perplexity is not None]
        live = any(line.state in LIVE for line in lines)
        lowest = None if live else min(values, default=None)
        status = "running" if live else lines[0].state if lowest is None else format_perplexity(lowest)
        found.append(ExperimentLine(name, status, lowest))
    return found
