"""Perplexity of a run's model, stage by stage; each pass over the blocks is reported as it goes."""

import hashlib
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError

from sds_core.errors import SDSError
from sds_core.files import cache_folder, make_folder
from sds_core.models.calibration import digest
from sds_core.models.code_identity import code_identity, families
from sds_core.models.device import machine
from sds_core.models.evaluate import evaluate
from sds_core.models.linear import SHARED
from sds_core.models.routes import Routes, has_routes, load_routes, save_routes
from sds_core.models.structure import ModelStructure
from sds_core.pruning.perplexity import Perplexity
from sds_core.pruning.stages import Stage
from sds_core.runs import typed_json
from sds_core.runs.events import Event, Measuring
from sds_core.runs.recorded_values import Measurement
from sds_core.runs.run_context import RunContext

T = TypeVar("T")


@dataclass(frozen=True)
class Evaluation:
    """A model's perplexity on the evaluation windows, and the experts of their tokens."""

    perplexity: Perplexity
    routes: Routes = field(default_factory=dict)


def measure(
    context: RunContext, stage: Stage, structure: ModelStructure | None = None
) -> Generator[Measuring, None, Evaluation]:
    """Evaluate the run's model as it is now, or another one."""
    routes = Routes()
    blocks = evaluate(structure or context.structure, context.evaluation, context.device, routes)
    return Evaluation((yield from reported(context, stage, blocks)), routes)


def reported(context: RunContext, what: Measurement, blocks: Generator[int, None, T]) -> Generator[Measuring, None, T]:
    """Yield an event for every block that a pass finishes; return what the pass returns."""
    while True:
        try:
            block = next(blocks)
        except StopIteration as done:
            return done.value
        yield Measuring(what=what, block=block, of=len(context.structure.blocks))


class DenseEvaluation:
    """The dense model's evaluation, which can keep just ahead of a pass that changes the model block by block.

    So the pass need not wait for it: the first picture comes many seconds sooner.
    """

    def __init__(self, context: RunContext):
        self._steps = measure_dense(context)
        self._at_once = SHARED in context.structure.excluded.values()
        self._latest: Measuring | None = None
        self.found: Evaluation | None = None
        """What was measured, or read from the cache; None while there are blocks to come."""

    def reach(self, block: int) -> None:
        """Evaluate up to and including a block, which with all behind it still has to be dense.

        Where blocks share weights, a change of one changes another: then all are evaluated at once.

        Raises:
            SDSError: as of `measure_dense`.
        """
        while self.found is None and (self._at_once or self._latest is None or self._latest.block < block):
            self._step()

    def finish(self) -> Generator[Event, None, Evaluation]:
        """Report and evaluate what is left."""
        while self.found is None:
            if self._latest:
                yield self._latest
            self._step()
        return self.found

    def _step(self) -> None:
        try:
            self._latest = next(self._steps)
        except StopIteration as done:
            self.found = done.value


def measure_dense(context: RunContext) -> Generator[Measuring, None, Evaluation]:
    """Evaluate the dense model, or read it from the user's cache if it was measured before on this set-up.

    Raises:
        SDSError: the cached result is broken.
    """
    model = context.loaded.model
    setting = (
        *code_identity(families(model)),
        context.loaded.fingerprint,
        str(model.dtype),
        str(model.config._attn_implementation),
        digest(context.evaluation),
        machine(),
        context.device.type,
        torch.get_num_threads(),  # a product of matrices is summed in another order by more of them
        torch.get_float32_matmul_precision(),
    )
    path = cache_folder() / "dense" / f"{hashlib.sha256(repr(setting).encode()).hexdigest()[:32]}.json"
    routes = path.with_suffix(".safetensors") if has_routes(context.structure) else None
    if path.exists() and (routes is None or routes.exists()):
        return _cached(path, routes)
    measured = yield from measure(context, "dense")
    make_folder(path.parent)
    if routes:
        save_routes(routes, measured.routes)
    typed_json.write(path, measured.perplexity)
    return measured


def _cached(path: Path, routes: Path | None) -> Evaluation:
    """Return a stored result.

    Raises:
        SDSError: a file is broken.
    """
    broken = path
    try:
        perplexity = typed_json.parse(Perplexity, path.read_text(encoding="utf-8"))
        broken = routes or path
        return Evaluation(perplexity, load_routes(routes) if routes else {})
    except (OSError, ValueError, SafetensorError) as error:
        raise SDSError(f"the dense result in {broken} is broken: {error}", cure="delete that file") from error
