"""Finished runs that ship with the product, packed, so that every page has something to show at once, offline."""

from collections.abc import Sequence
from pathlib import Path

from sds_core.pruning.titles import BASE
from sds_core.runs import distribution_files
from sds_core.runs.archive import further_id, holds, identity, pack, unpack
from sds_core.runs.branch import as_parent, branch
from sds_core.runs.config import RunConfig
from sds_core.runs.experiment import Experiment
from sds_core.runs.run_folder import DISTRIBUTIONS, Run, root
from sds_core.runs.sweep import DEMO_SETTINGS
from sds_core.runs.variant import Variant

FOLDER = Path(__file__).parents[1] / "assets" / "examples"
"""The packed runs, METHOD-PRUNER.zip; `python -m sds_core examples` remakes them."""
PRUNERS = ("wanda", "sparsegpt")
METHODS = ("sds", "sds-admm")
"""Every method continues from every base pruner, phase by phase."""
EXPERIMENT = "examples"
"""The experiment that they belong to."""
PROMPTS = (
    "Bread rises because yeast eats sugar and makes a gas. The gas is caught in the dough, which",
    "The capital of France is Paris, and the capital of Italy is",
    "To add two numbers in Python, write a function that takes two arguments and",
    "Water freezes at zero degrees. When the temperature rises above that, the ice",
    "She opened the old letter slowly, afraid of what her brother might have",
)
"""Prompts of the shipped text query."""


def first_phase() -> list[RunConfig]:
    """Return the configurations of phase 1, one for each base pruner."""
    experiment = Experiment(EXPERIMENT, RunConfig.from_dict(DEMO_SETTINGS))
    return [experiment.config_of(Variant(BASE, name), 1) for name in PRUNERS]


def next_phase(runs: Sequence[Run]) -> list[RunConfig]:
    """Return the configurations of the phase after the one that these runs have finished.

    Raises:
        SDSError: a run is not finished.
    """
    finished = runs[0].config.phase
    branches = [{"method": name} for name in METHODS] if finished == 1 else [{}]
    return [branch(run.config, changes, as_parent(run, finished)) for run in runs for changes in branches]


def write(bases: Sequence[Run], methods: Sequence[Run]) -> list[Path]:
    """Replace the shipped examples by finished runs; return the files written.

    Args:
        bases: runs of phase 1.
        methods: runs of phase 3, which hold the record of the phases before.

    Raises:
        SDSError: a run is not finished, or a file cannot be written.
    """
    for run in (*bases, *methods):
        run.finished_result()
    for path in FOLDER.glob("*.zip"):
        path.unlink()
    written = []
    for run in (*bases, *methods):
        for _, path in distribution_files.files(run.folder):
            distribution_files.compress(path)
        written.append(FOLDER / f"{run.config.method}-{run.config.pruner}.zip")
        pack(run, written[-1], leave_out=[] if run in bases else _sparse(run))
    return written


def _sparse(run: Run) -> list[Path]:
    """Return the record of phase 1, which all methods share with their base pruner's run."""
    return sorted((run.folder / DISTRIBUTIONS).glob("sparse-*.parquet"))


def unpack_all() -> list[Run]:
    """Return the examples, unpacking those that are not among this user's runs.

    Raises:
        SDSError: the disk is full, or an example is broken.
    """
    return [example(path.stem) for path in sorted(FOLDER.glob("*.zip"))]


def example(name: str) -> Run:
    """Return one example, such as `sds-admm-wanda`, unpacking it if it is not among this user's runs.

    Another run may have its id; then it is among those with ids derived from it.

    Raises:
        SDSError: the disk is full, or the example is broken.
    """
    path = FOLDER / f"{name}.zip"
    assert path.exists(), f"there is no example {name}"
    if known := _unpacked(path):
        return known
    method, _, pruner = name.rpartition("-")
    shared = [] if method == BASE else _sparse(example(f"{BASE}-{pruner}"))
    made = unpack(path, add=shared)
    first = _unpacked(path)
    assert first
    if first != made:  # another process was faster
        made.delete()
    return first


def _unpacked(path: Path) -> Run | None:
    """Return the run that was unpacked from an example, the one with its own id first; None if there is none."""
    name, packed = identity(path)
    found = map(Run, [root() / name, *sorted(root().glob(further_id(name, "?" * 6)))])
    return next((run for run in found if holds(run, packed)), None)
