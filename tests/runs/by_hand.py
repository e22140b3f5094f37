"""Finished runs written by hand: no model, only what is compared."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

from sds_core.runs.config import RunConfig
from sds_core.runs.run_folder import Run, create

DENSE = (2.0, 2.5, 3.0)
XEON, EPYC = "x86_64, Intel(R) Xeon(R), 2 cores, Linux 6.1", "x86_64, AMD EPYC, 2 cores, Linux 6.1"


def made(
    losses: Sequence[float],
    dense: Sequence[float] = DENSE,
    machine: str = XEON,
    threads: int = 2,
    calibration_sha256: str = "",
    stages: dict[str, Sequence[float]] | None = None,
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
    result = {
        "last": stage,
        "perplexity": {
            name: {"losses": list(values), "tokens": 31, "value": math.exp(fmean(values))}
            for name, values in measured.items()
        },
        "sparsity": 0.5,
        "model_sparsity": 0.39,
        "evaluation_sha256": changes.get("evaluation", "x"),
        "calibration_sha256": calibration_sha256 or f"of seed {run.config.seed}",
        "total": 100,
    }
    run.log.append({"kind": "start", "threads": threads, "machine": machine, "torch": "2.13.0"})
    run.log.append({"kind": "model", "device": "cpu", "dtype": "float32"})
    (run.folder / "result.json").write_text(json.dumps(result))
    return run
