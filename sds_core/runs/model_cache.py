"""The runs of one process share a model, its dense weights and windows of text: each is loaded or made once."""

from collections.abc import Callable

import torch
from torch import Tensor

from sds_core.errors import SDSError
from sds_core.models.calibration import calibration_windows, evaluation_windows
from sds_core.models.device import pick_device
from sds_core.models.exclude import exclude_layers
from sds_core.models.load import LoadedModel, load_model
from sds_core.models.model_config import refuse_long_windows
from sds_core.models.structure import ModelStructure, find_blocks
from sds_core.runs.config import RunConfig
from sds_core.runs.run_context import RunContext


class ModelCache:
    """The model that the last run used, with its structure and windows.

    Args:
        keep_dense: hold a copy of the prunable weights, so that several passes can start from the dense model.
    """

    def __init__(self, keep_dense: bool):
        self._keep_dense = keep_dense
        self._key: tuple[str, str, str] | None = None
        self._loaded: LoadedModel
        self._structure: ModelStructure
        self._windows: dict[tuple[str | int, ...], Tensor] = {}
        self._changed = False

    def context(self, config: RunConfig) -> RunContext:
        """Return what a run works on, its model dense.

        Raises:
            SDSError: model, text or device are not available, or do not fit each other.
        """
        device = pick_device(config.device)
        self._load(config)
        self.restore_dense()
        if not config.partial:
            _refuse_mostly_unprunable(self._structure, config.model)
        structure = exclude_layers(self._structure, config.exclude.split())
        refuse_long_windows(self._loaded.model.config, max(config.length, config.eval_length), config.model)
        pattern = config.parsed_pattern()
        for block in structure.blocks:
            for linear in block.linears:
                pattern.check(linear.shape[1], linear.name)
        calibration, evaluation = config.texts
        drawn = (config.length, config.seed, config.held_out, config.bos)
        measured = (config.eval_windows, config.eval_length, config.bos, config.eval_rows)
        windows = self._cached_windows(calibration_windows, calibration, config.samples, *drawn)
        held_out, learned = windows[config.samples :], windows[:0]
        if plan := config.distillation:
            given = self._cached_windows(calibration_windows, calibration, plan.windows, *drawn)
            # Fewer than calibrate: the next ones of the text have been seen by the solvers.
            apart = held_out if plan.windows < config.samples else given[plan.windows :]
            learned = torch.cat([given[: plan.windows], apart])
        return RunContext(
            config=config,
            loaded=self._loaded,
            structure=structure,
            device=device,
            calibration=windows[: config.samples],
            held_out=held_out,
            evaluation=self._cached_windows(evaluation_windows, evaluation, *measured),
            distillation=learned,
        )

    def restore_dense(self, changing: bool = False) -> None:
        """Give the model its dense weights back, if they were changed.

        Args:
            changing: whether they will be changed from now on.
        """
        if self._changed:
            self._loaded.store.restore_dense()
        self._changed = changing

    def _load(self, config: RunConfig) -> None:
        """Load the run's model, unless it is the one at hand."""
        key = (config.model, config.dtype, config.weights)
        if self._key == key:
            return
        self._key = None
        self._loaded = load_model(*key, copies=2 if self._keep_dense else 1)
        self._structure = find_blocks(self._loaded.model, self._loaded.store)
        self._windows.clear()
        self._changed = False
        if self._keep_dense:
            linears = [linear for block in self._structure.blocks for linear in block.linears]
            self._loaded.store.keep_dense(dict.fromkeys(linear.parameter for linear in linears))
        self._key = key

    def _cached_windows(self, make: Callable[..., Tensor], text: str, *settings: int | str) -> Tensor:
        if (text, *settings) not in self._windows:
            self._windows[text, *settings] = make(self._loaded, text, *settings)
        return self._windows[text, *settings]


def _refuse_mostly_unprunable(structure: ModelStructure, name: str) -> None:
    """Refuse a model most of whose weights are in no layer that can be pruned."""
    if structure.prunable * 2 < structure.matrices:
        raise SDSError(
            f"only {structure.prunable / structure.matrices:.0%} of the weights in the blocks of {name} are in "
            "layers that can be pruned",
            cure="prune those alone with --partial, or take another model",
        )
