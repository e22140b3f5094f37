"""A grid of runs: models × patterns × seeds × methods; worked off here, or handed to Slurm as an array of jobs."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sds_core.errors import SDSError
from sds_core.runs import plugins
from sds_core.runs.config import RunConfig
from sds_core.runs.files import write_text
from sds_core.runs.lineup import lineup
from sds_core.runs.run_folder import Run, root


def grid(
    values: dict[str, Any], models: Sequence[str], patterns: Sequence[str], seeds: Sequence[int], methods: Sequence[str]
) -> list[RunConfig]:
    """One configuration a combination, those that share most beside each other.

    Args:
        values: what all runs have in common, as `lineup` takes it.
        models, patterns, seeds: what is varied.
        methods: METHOD:PRUNER.

    Raises:
        SDSError: a combination contradicts itself.
    """
    return [
        config
        for model in models
        for pattern in patterns
        for seed in seeds
        for config in lineup(values | {"model": model, "pattern": pattern, "seed": seed}, methods)
    ]


def slurm_array(runs: list[Run], file: Path) -> None:
    """Write a script for `sbatch` that works each run off as a job of its own; what a job asks for is added by hand.

    Raises:
        SDSError: the file exists, or cannot be written.
    """
    if file.exists():
        raise SDSError("the file to write exists already", got=str(file))
    here, python = shlex.quote(str(Path(__file__).parents[2])), shlex.quote(sys.executable)
    folder = shlex.join(plugins.folder_flag(run.config.pruner for run in runs))
    lines = [
        "#!/bin/bash",
        f"#SBATCH --array=0-{len(runs) - 1}",
        "#SBATCH --job-name=sds",
        f"export PYTHONPATH={here} SDS_RUNS={shlex.quote(str(root()))}",
        f"runs=({' '.join(run.id for run in runs)})",
        f'exec {python} -m sds_core resume "${{runs[$SLURM_ARRAY_TASK_ID]}}" {folder}'.rstrip(),
    ]
    write_text(file, "\n".join(lines) + "\n")
