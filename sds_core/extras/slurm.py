"""A grid of runs as a Slurm array of jobs."""

import shlex
import sys
from pathlib import Path

from sds_core.errors import SDSError
from sds_core.files import make_folder, write_text
from sds_core.runs.plugin_flag import folder_flag
from sds_core.runs.run_folder import Run, root
from sds_core.subprocess_environment import python_path


def slurm_array(runs: list[Run], file: Path) -> None:
    """Write a script for `sbatch` that carries out each run as a job of its own; resources are added by hand.

    Raises:
        SDSError: the file exists, or cannot be written.
    """
    if file.exists():
        raise SDSError("the file to write exists already", got=str(file))
    path, python = shlex.quote(python_path()), shlex.quote(sys.executable)
    folder = shlex.join(folder_flag(run.config.pruner for run in runs))
    lines = [
        "#!/bin/bash",
        f"#SBATCH --array=0-{len(runs) - 1}",
        "#SBATCH --job-name=sds",
        f"export PYTHONPATH={path} SDS_RUNS={shlex.quote(str(root()))}",
        f"runs=({' '.join(run.id for run in runs)})",
        f'exec {python} -m sds_core resume "${{runs[$SLURM_ARRAY_TASK_ID]}}" {folder}'.rstrip(),
    ]
    make_folder(file.parent)
    write_text(file, "\n".join(lines) + "\n")
