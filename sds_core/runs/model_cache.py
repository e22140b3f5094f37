"""What several runs in one process share: the model, its dense weights and perplexity, the windows of text."""

import hashlib
import os
from collections.abc import Generator
from typing import Any, TypeVar

import torch
from torch import Tensor

from sds_core.errors import SDSError
from sds_core.models.cache import cache_folder
from sds_core.models.calibration import calibration_windows, digest, evaluation_windows
from sds_core.models.device import pick_device
from sds_core.models.evaluate import evaluate
from sds_core.models.exclude import exclude_layers
from sds_core.models.load import LoadedModel, load_model
from sds_core.models.structure import ModelStructure, find_blocks
from sds_core.pruning.perplexity import Perplexity
from sds_core.pruning.stages import Stage
from sds_core.runs import typed_json
from sds_core.runs.config import RunConfig
from sds_core.runs.events import Event, Measurement, Measuring
from sds_core.runs.files import write_json

T = TypeVar("T")


class ModelCache:
    """Loads and measures at most once what runs have in common.

    Args:
        keep_dense: hold a copy of the prunable weights, for more than one walk to start from the dense model.
    """

    def __init__(self, keep_dense: bool):
        self._keep_dense = keep_dense
        self._key: tuple[str, str, str] | None = None
        self._windows: dict[tuple, Tensor] = {}
        self.changed = False
        """Whether the model's weights may differ from its dense ones."""

    def open(self, config: RunConfig) -> None:
        """Load the run's model, unless it is the one at hand, and its windows.

        Raises:
            SDSError: model, text or device cannot be had.
        """
        self.config = config
        self.device = pick_device(config.device)
        key = (config.model, config.dtype, config.weights)
        if self._key != key:
            self._key = None
            self.loaded: LoadedModel = load_model(*key, copies=2 if self._keep_dense else 1)
            self._whole = find_blocks(self.loaded.model, self.loaded.store)
            self._windows.clear()
            self.changed = False
            if self._keep_dense:
                self.loaded.store.keep_dense(linear.module.weight for linear in self._linears())
            self._key = key
        self.restore_dense()
        if not config.partial:
            _refuse_mostly_unprunable(self._whole, config.model)
        self.structure: ModelStructure = exclude_layers(self._whole, config.exclude.split())
        positions = getattr(self.loaded.model.config.get_text_config(), "max_position_embeddings", None)
        if positions and max(config.length, config.eval_length) > positions:
            longest = max(config.length, config.eval_length)
            raise SDSError(f"windows of {longest} tokens are too long", allowed=f"{config.model} knows {positions}")
        pattern = config.parsed_pattern()
        for block in self.structure.blocks:
            for linear in block.linears:
                pattern.check(linear.shape[1], linear.name)
        calibration, evaluation = config.texts
        asked = (config.samples, config.length, config.seed, config.held_out)
        windows = self._cached(calibration_windows, calibration, *asked)
        self.calibration, self.held_out = windows[: config.samples], windows[config.samples :]
        self.evaluation = self._cached(evaluation_windows, evaluation, config.eval_windows, config.eval_length)

    def _linears(self):
        """All that any run may prune, whatever this one skips."""
        return [linear for block in self._whole.blocks for linear in block.linears]

    def _cached(self, make: Any, *arguments: Any) -> Tensor:
        if arguments not in self._windows:
            self._windows[arguments] = make(self.loaded, *arguments)
        return self._windows[arguments]

    def restore_dense(self) -> None:
        """Give the model its dense weights back, if they were changed."""
        if self.changed:
            self.loaded.store.restore_dense()
            self.changed = False

    def measure(self, stage: Stage, other: ModelStructure | None = None) -> Generator[Event, None, Perplexity]:
        """Perplexity of the model as it is now, or of another one."""
        return (yield from self.following(stage, evaluate(other or self.structure, self.evaluation, self.device)))

    def following(self, what: Measurement, progress: Generator[int, None, T]) -> Generator[Event, None, T]:
        """Tells of every block that something passes, and returns what it returns."""
        while True:
            try:
                block = next(progress)
            except StopIteration as done:
                return done.value
            yield Measuring(what=what, block=block, of=len(self.structure.blocks))

    def measure_dense(self) -> Generator[Event, None, Perplexity]:
        """Perplexity of the untouched model, from the user's cache where it was measured before on this set-up."""
        setting = (
            self.loaded.fingerprint,
            str(self.loaded.model.dtype),
            digest(self.evaluation),
            self.device.type,
            torch.__version__,
            torch.get_float32_matmul_precision(),
        )
        path = cache_folder() / "dense" / f"{hashlib.sha256(repr(setting).encode()).hexdigest()[:32]}.json"
        if path.exists():
            try:
                return typed_json.parse(Perplexity, path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise SDSError(f"the dense result in {path} is broken: {error}", cure="delete that file") from error
        measured = yield from self.measure("dense")
        write_json(path, typed_json.to_json(measured))
        return measured


def _refuse_mostly_unprunable(structure: ModelStructure, name: str) -> None:
    """A model most of whose blocks are no linears, such as a mixture of experts that are stored as one tensor each."""
    if structure.prunable * 2 < structure.matrices:
        raise SDSError(
            f"only {structure.prunable / structure.matrices:.0%} of the weights in the blocks of {name} lie in "
            "layers that can be pruned",
            cure="prune those alone with --partial, or take a model that is not a mixture of experts",
        )


def use_threads(threads: int) -> int:
    """Set the number of CPU threads, 0 meaning all cores; returns it."""
    chosen = threads or os.cpu_count() or 1
    torch.set_num_threads(chosen)
    return chosen
