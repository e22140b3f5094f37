"""Load the model that a finished run produced."""

import dataclasses
from collections.abc import Sequence
from functools import partial

from sds_core.errors import SDSError
from sds_core.models.exclude import exclude_layers
from sds_core.models.load import LoadedModel, load_model
from sds_core.models.model_files import changed_files
from sds_core.models.structure import Block, find_blocks
from sds_core.runs.checkpoint import Checkpoints
from sds_core.runs.external import FILES
from sds_core.runs.run_command import command
from sds_core.runs.run_folder import Run


def pruned_model(run: Run, weights: str = "memory") -> LoadedModel:
    """Return the model that a finished run produced.

    Args:
        run: a run that kept its weights.
        weights: where those of the model's blocks rest, as for `load_model`.

    Raises:
        SDSError: the run is not finished or has no weights, or its model has changed.
    """
    config = run.config
    if config.checkpoint:
        return _checkpoint(run)
    require_weights(run)
    loaded = load_model(config.model, config.dtype, weights)
    take_weights(run, loaded, exclude_layers(find_blocks(loaded.model, loaded.store), config.exclude.split()).blocks)
    return loaded


def require_weights(run: Run) -> None:
    """Refuse a run that holds no weights of its own.

    Raises:
        SDSError: the run is not finished, or its weights are gone.
    """
    if not run.checkpoint(run.finished_result().last, 0).exists():
        again = command(dataclasses.replace(run.config, keep_weights=True))
        raise SDSError(f"run {run.id} has no weights", cure=f"repeat it, keeping them: {again}")


def take_weights(run: Run, loaded: LoadedModel, blocks: Sequence[Block]) -> None:
    """Write a finished run's last weights into its model, over those of another run of that model.

    Args:
        run: a run with the same excluded layers as that other run.
        loaded: its model.
        blocks: the model's blocks, with the run's layers.

    Raises:
        SDSError: the run is not finished or has no weights, or the model is not the one that it pruned.
    """
    result = run.finished_result()
    refuse_other_model(run, loaded)
    past = Checkpoints(run, result.last)
    for block in blocks:
        loaded.store.change(block.module, partial(past.restore, block))


def refuse_other_model(run: Run, loaded: LoadedModel) -> None:
    """Refuse a model that is not the one that a run pruned.

    Raises:
        SDSError: a file has changed, or is gone; it is named.
    """
    recorded = {name: sha256 for name, sha256 in run.model().sha256.items() if not name.startswith(FILES)}
    if changed := changed_files(recorded, loaded.sha256):
        raise SDSError(
            f"the model {loaded.name} is not the one that run {run.id} pruned: {', '.join(changed)} changed since",
            cure="put the old files back",
        )


def _checkpoint(run: Run) -> LoadedModel:
    run.finished_result()
    loaded = load_model(run.config.checkpoint, run.config.dtype)
    recorded = {name: sha256 for name, sha256 in run.model().sha256.items() if name.startswith(FILES)}
    if changed := changed_files(recorded, {FILES + name: sha256 for name, sha256 in loaded.sha256.items()}):
        names = ", ".join(name.removeprefix(FILES) for name in changed)
        raise SDSError(
            f"{run.config.checkpoint} is not what run {run.id} inspected: {names} changed since",
            cure="put the old files back",
        )
    return loaded
