"""Finished runs that ship with the product, packed: every page has something to show at once, offline."""

from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock

from sds_core.files import make_folder
from sds_core.runs.archive import pack, packed_id, unpack
from sds_core.runs.config import RunConfig
from sds_core.runs.run_folder import Run, root
from sds_core.runs.sweep import COMPARED, DEMO, method_configs

FOLDER = Path(__file__).parents[1] / "assets" / "examples"
"""The packed runs, METHOD-PRUNER.zip; `python -m sds_core examples` remakes them."""
METHODS = COMPARED
"""METHOD:PRUNER of every example."""
EXPERIMENT = "examples"
"""The experiment that they are in."""
PROMPTS = (
    "Bread rises because yeast eats sugar and makes a gas. The gas is caught in the dough, which",
    "The capital of France is Paris, and the capital of Italy is",
    "To add two numbers in Python, write a function that takes two arguments and",
    "Water freezes at zero degrees. When the temperature rises above that, the ice",
    "She opened the old letter slowly, afraid of what her brother might have",
)
"""Prompts of the shipped text query."""


def configs() -> list[RunConfig]:
    """Return the configurations whose runs are shipped."""
    return method_configs({**DEMO, "experiment": EXPERIMENT}, METHODS)


def write(runs: Sequence[Run]) -> list[Path]:
    """Replace the shipped examples by these finished runs; return the files written.

    Raises:
        SDSError: a run is not finished, or a file cannot be written.
    """
    for run in runs:
        run.finished_result()
    for path in FOLDER.glob("*.zip"):
        path.unlink()
    paths = [FOLDER / f"{run.config.method}-{run.config.pruner}.zip" for run in runs]
    for run, path in zip(runs, paths, strict=True):
        pack(run, path)
    return paths


def take_in() -> list[Run]:
    """Return the examples, unpacking those that are not among this user's runs.

    Raises:
        SDSError: the disk is full.
    """
    return [example(path.stem) for path in sorted(FOLDER.glob("*.zip"))]


def example(name: str) -> Run:
    """Return one example, such as `sds-admm-wanda`, unpacking it if it is not among this user's runs.

    Raises:
        SDSError: the disk is full.
    """
    path = FOLDER / f"{name}.zip"
    assert path.exists(), f"there is no example {name}"
    run = root() / packed_id(path)
    if (run / "result.json").exists():
        return Run(run)
    make_folder(root())
    with FileLock(root() / ".examples.lock", fallback_to_soft=False):  # of two who come first, one unpacks
        return Run(run) if (run / "result.json").exists() else unpack(path)
