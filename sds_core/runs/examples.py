"""Finished runs that come with the product, packed: pages have something to show in the first minute, offline."""

from pathlib import Path

from sds_core.runs.archive import packed_id, unpack
from sds_core.runs.run_folder import Run, root

FOLDER = Path(__file__).parents[1] / "assets" / "examples"
"""Archives that `pack` has written of the runs of `python -m sds_core demo`, named METHOD-PRUNER.zip."""


def take_in() -> list[Run]:
    """The examples among this user's runs, unpacked where they are not there yet.

    Raises:
        SDSError: the disk is full.
    """
    return [example(path.stem) for path in sorted(FOLDER.glob("*.zip"))]


def example(name: str) -> Run:
    """One example, such as `sds-admm-wanda`, unpacked where it is not there yet."""
    path = FOLDER / f"{name}.zip"
    assert path.exists(), f"there is no example {name}"
    run = root() / packed_id(path)
    return Run(run) if (run / "result.json").exists() else unpack(path)
