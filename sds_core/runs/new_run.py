"""Create a run's folder from its configuration."""

import dataclasses
import secrets
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sds_core.errors import SDSError
from sds_core.files import new_folder
from sds_core.pruning.registry import BUILT_IN, PrunerRegistry
from sds_core.runs import typed_json
from sds_core.runs.branch import inherit
from sds_core.runs.config import RunConfig
from sds_core.runs.names import id_prefix
from sds_core.runs.run_folder import CONFIG, Run, open_run, root


def create_all(configs: Iterable[RunConfig], pruners: PrunerRegistry = BUILT_IN) -> list[Run]:
    """Create the folders of several runs, or none of them; arguments and errors as of `create`."""
    made: list[Run] = []
    with deleted_on_error(made):
        for config in configs:
            made.append(create(config, pruners))
    return made


@contextmanager
def deleted_on_error(runs: Collection[Run]) -> Iterator[None]:
    """Delete new runs, except those that are being worked on, if an SDSError leaves the `with`."""
    try:
        yield
    except SDSError:
        for run in runs:
            with suppress(SDSError):  # it is being worked on
                run.delete()
        raise


def create(config: RunConfig, pruners: PrunerRegistry = BUILT_IN, runs: Path | None = None) -> Run:
    """Create the folder of a new run, record the SHA-256 of a plugin pruner, and link what it inherits.

    Args:
        config: the run's options.
        pruners: the pruners that it may use.
        runs: the folder of runs; None for `root()`.

    Raises:
        SDSError: the pruner is not available, the parent is gone, or the disk is full.
    """
    pruners.require(config.pruner, config.pruner_sha256)
    config = dataclasses.replace(config, pruner_sha256=pruners.sha256(config.pruner))
    folder = (runs or root()) / f"{id_prefix(config)}-{secrets.token_hex(3)}"
    with new_folder(folder) as made:  # weights may be copied into it: one that is cut short does not stay
        if config.parent:
            inherit(Run(made), open_run(config.parent.run), config.parent)
        typed_json.write(made / CONFIG, config.to_dict())
    return Run(folder)
