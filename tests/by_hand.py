"""Finished runs written by hand: no model, only what is compared."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sds_core.pruning.stages import Stage
from sds_core.runs.config import RunConfig
from sds_core.runs.new_run import create
from sds_core.runs.recorded_values import TextWindows
from sds_core.runs.run_folder import Run
from tests.records import SOFTWARE, model_loaded, run_result, run_started, write_log, write_result

DENSE = (2.0, 2.5, 3.0)
XEON, EPYC = "x86_64, Intel(R) Xeon(R), 2 cores, Linux 6.1", "x86_64, AMD EPYC, 2 cores, Linux 6.1"


def made(
    losses: Sequence[float],
    dense: Sequence[float] = DENSE,
    machine: str = XEON,
    threads: int = 2,
    calibration_sha256: str = "",
    stages: dict[Stage, Sequence[float]] | None = None,
    **changes: Any,
) -> Run:
    """Make a finished run.

    Args:
        losses: of its last weights, by window.
        dense: losses of its dense model.
        machine, threads: where it was computed.
        calibration_sha256: of its calibration windows; by default the same for the same seed.
        stages: losses of earlier stages.
        changes: options, beside the method `base`.
    """
    config = RunConfig(**{"method": "base", **changes})
    run = create(replace(config, phase=0, parent=None))  # nothing is inherited
    (run.folder / "config.json").write_text(json.dumps(config.to_dict()))
    stage = run.config.written_by(run.config.phases[-1])
    measured = {"dense": dense, **(stages or {}), stage: losses}
    calibration = TextWindows(text="self", sha256=calibration_sha256 or f"of seed {run.config.seed}")
    evaluation = TextWindows(text="python-docs", sha256=changes.get("evaluation", "x"))
    write_log(run, [run_started(threads=threads, software=replace(SOFTWARE, machine=machine)), model_loaded()])
    write_result(run, run_result(measured, calibration=calibration, evaluation=evaluation))
    return run
