"""Phase 4: distil the pruned model as a whole, step by step, with checkpoints to resume from."""

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch

from sds_core.errors import SDSError
from sds_core.models.bfloat16 import is_faster
from sds_core.models.cache import file_sha256
from sds_core.models.calibration import digest
from sds_core.models.distillation import Distiller, Step, memory_needed, pieces
from sds_core.models.tensor_files import save_tensors
from sds_core.runs import checkpoint
from sds_core.runs.checkpoint import Checkpoints
from sds_core.runs.events import (
    BlockFinished,
    DistillationSaved,
    DistillationStarted,
    DistillationStep,
    Event,
    PhaseStarted,
    first,
    of_kind,
)
from sds_core.runs.recorded_values import LayerSummary, TextWindows
from sds_core.runs.run_context import RunContext
from sds_core.runs.run_folder import FOLDERS, Run

SAVED_EVERY = 120.0
"""Seconds between two states on disk, of several bytes a weight each."""
STATE_BYTES = 16
"""Of each prunable weight in a stored state: the weight, two means of Adam, and the best so far."""
HALVES = {"bfloat16": torch.bfloat16}
"""Precision of products in a float32 model, by the name in the record."""


def run_distillation(run: Run, context: RunContext) -> Iterator[Event]:
    """Distil the model from the stage that the method left; the model is dense, and holds the result afterwards."""
    past, blocks = Checkpoints(run, "distilled"), context.structure.blocks
    if past.finished < len(blocks):
        yield PhaseStarted(phase="distilled", stage="distilled", of=len(blocks))
        started = first(run.log.read(), DistillationStarted)
        if started is None:
            yield (started := _started(context))
        distiller = _distiller(run, context, started)
        with distiller.on_device():
            yield from _steps(run, distiller)
        yield from _stored(run, context, distiller, past.finished)
        del distiller
    for block in blocks:
        context.structure.store.change(block.module, partial(past.restore, block))
    for path in _states(run):
        path.unlink()


def state_bytes(context: RunContext) -> int:
    """Return the size of a stored state."""
    return STATE_BYTES * context.structure.prunable


def _started(context: RunContext) -> DistillationStarted:
    plan, dtype = context.config.distillation, str(context.loaded.model.dtype).removeprefix("torch.")
    assert plan
    half = dtype == "float32" and is_faster(context.device)
    return DistillationStarted(
        steps=plan.epochs * plan.windows * pieces(context.config.length)[0],
        epochs=plan.epochs,
        windows=plan.windows,
        rate=plan.rate,
        text=TextWindows(text=context.config.texts[0], sha256=digest(context.distillation)),
        precision="bfloat16" if half else dtype,
        memory=memory_needed(context.structure, context.config.length, context.device),
    )


def _distiller(run: Run, context: RunContext, started: DistillationStarted) -> Distiller:
    """Return the distillation as far as it has come.

    Raises:
        SDSError: its text is not the one that it began with, or its stored state is broken.
    """
    config, given = context.config, Checkpoints(run, context.config.one_shot)
    if started.text.sha256 != digest(context.distillation):
        raise SDSError(f"run {run.id} cannot go on: the text it is distilled on changed", cure="start a new run")
    assert config.distillation
    distiller = Distiller(
        context.structure,
        partial(given.pruned, config.one_shot),
        context.distillation[: started.windows],
        context.distillation[started.windows :],
        config.distillation,
        context.device,
        HALVES.get(started.precision) if context.loaded.model.dtype == torch.float32 else None,
    )
    saved = of_kind(run.log.read(), DistillationSaved)
    if saved:
        distiller.load(checkpoint.load_recorded(_state(run, saved[-1].step), saved[-1].sha256))
    return distiller


def _steps(run: Run, distiller: Distiller) -> Iterator[Event]:
    began, used = time.monotonic(), time.process_time()
    saved = began

    def event(step: Step) -> DistillationStep:
        return DistillationStep(
            step=step.number,
            of=distiller.steps,
            loss=step.loss,
            held_out=step.held_out,
            seconds=round(time.monotonic() - began, 3),
            cpu_seconds=round(time.process_time() - used, 3),
        )

    if distiller.step == 0:
        yield event(distiller.begin())
    while distiller.step < distiller.steps:
        began, used = time.monotonic(), time.process_time()
        yield event(distiller.advance())
        if distiller.step == distiller.steps or time.monotonic() - saved > SAVED_EVERY:
            path = _state(run, distiller.step)
            run.make_folder(path.parent.name)
            save_tensors(path, distiller.state())
            yield DistillationSaved(step=distiller.step, sha256=file_sha256(path))
            for other in _states(run):  # now that this one is on record
                if other != path:
                    other.unlink()
            saved = time.monotonic()


def _stored(run: Run, context: RunContext, distiller: Distiller, finished: int) -> Iterator[BlockFinished]:
    """Store the result block by block, as other stages are, from the first that is not."""
    blocks = context.structure.blocks
    for block in blocks[finished:]:
        found = {linear: distiller.result(linear) for linear in block.linears}
        for linear, one in found.items():
            linear.write(one.weight)
        masks = {linear.label: checkpoint.packed_mask(one.mask) for linear, one in found.items()}
        layers = [
            LayerSummary(
                linear=linear.label,
                seconds=0.0,
                loss={},
                pruned=int((~one.mask).sum()),
                weights=one.mask.numel(),
            )
            for linear, one in found.items()
        ]
        yield BlockFinished(
            phase="distilled",
            stage="distilled",
            block=block.index,
            of=len(blocks),
            seconds=0.0,
            cpu_seconds=0.0,
            sha256=checkpoint.save(run, "distilled", block, checkpoint.packed(block, masks)),
            layers=tuple(layers),
        )


def _state(run: Run, step: int) -> Path:
    return run.folder / FOLDERS["distilled"] / f"state-{step:06}.safetensors"


def _states(run: Run) -> list[Path]:
    return list((run.folder / FOLDERS["distilled"]).glob("state-*.safetensors"))
