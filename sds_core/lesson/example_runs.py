"""The shipped examples that the Walk needs, unpacked where they are not among this user's runs."""

from sds_core.errors import SDSError
from sds_core.runs import examples
from sds_core.runs.run_folder import Run


def open_runs(*names: str) -> dict[str, Run]:
    """Return the examples of these names, unpacking those that are not among this user's runs.

    Raises:
        SDSError: one does not ship with this copy, or cannot be unpacked.
    """
    missing = [name for name in names if not (examples.FOLDER / f"{name}.zip").exists()]
    if missing:
        raise SDSError(
            f"this step needs a finished run that is missing: {' and '.join(missing)}",
            cure="install a complete copy of SDS Studio, or go on to another step",
        )
    return {name: examples.example(name) for name in names}
