"""A run from its configuration to its result: load, measure the dense model, run each phase, measure again, store."""

import time
from collections.abc import Generator, Iterator
from typing import Literal

import torch

from sds_core.errors import SDSError
from sds_core.files import require_space
from sds_core.models.bfloat16 import is_faster
from sds_core.models.calibration import bos_used
from sds_core.models.code_identity import families
from sds_core.models.device import allow_fast_matmul, pick_device, use_threads
from sds_core.models.distillation import require_memory
from sds_core.models.model_files import changed_files
from sds_core.models.outliers import owl
from sds_core.models.routes import route_change
from sds_core.pruning.pattern import Pattern, Unstructured
from sds_core.pruning.registry import NO_PRUNER, Pruner
from sds_core.pruning.stages import Stage
from sds_core.runs import typed_json
from sds_core.runs.config import RunConfig
from sds_core.runs.distil_job import run_distillation, state_bytes
from sds_core.runs.events import (
    Event,
    JobFinished,
    ModelLoaded,
    PerplexityMeasured,
    RunStarted,
    SparsityAllocated,
    first,
    of_kind,
)
from sds_core.runs.external import ExternalCheckpoint
from sds_core.runs.measure import DenseEvaluation, Evaluation, measure, reported
from sds_core.runs.model_cache import ModelCache
from sds_core.runs.phase_job import run_phase_job
from sds_core.runs.plugins import load_registry
from sds_core.runs.recorded_values import MeasuredPerplexity
from sds_core.runs.run_context import RunContext
from sds_core.runs.run_folder import FOLDERS, Run
from sds_core.runs.summary import result_of, software
from sds_core.sds import Recipe


def run_job(run: Run, cache: ModelCache) -> Iterator[Event]:
    """Carry out a run, continuing from what its record says is done.

    Yields:
        Events for the run's log.

    Raises:
        SDSError: anything that the user can cause; finished blocks stay on disk.
    """
    config, past = run.config, run.log.read()
    pruner = _pruner(config)
    threads = use_threads(of_kind(past, RunStarted)[-1].threads if run.begun() else config.threads)
    yield RunStarted(threads=threads, matmul=allow_fast_matmul(pick_device(config.device)), software=software())
    context = cache.context(config)
    external = _external(context)
    identity = _identity(context, external, first(past, ModelLoaded))
    _refuse_changes(run, past, identity)
    yield identity
    if config.distillation:
        require_memory(context.structure, config.length, context.device)
    require_space(run.folder, _bytes_needed(run, context))

    dense = DenseEvaluation(context)
    dense.reach(0)
    if dense.found:
        yield PerplexityMeasured(stage="dense", perplexity=_against_itself(dense.found))
    recipe = Recipe(
        pruner=pruner,
        method=config.made_method(),
        pattern=config.parsed_pattern(),
        by_block=(yield from _by_block(context, cache, past)),
        given=external.given if external else None,
        bfloat16=identity.observation == "bfloat16",
        reconstruction=config.reconstruction,
    )
    measured: dict[Stage, MeasuredPerplexity] = {e.stage: e.perplexity for e in of_kind(past, PerplexityMeasured)}
    for phase in config.phases:
        cache.restore_dense(changing=True)
        if phase == "distilled":
            yield from _finished(dense)
            yield from run_distillation(run, context)
        else:
            yield from run_phase_job(run, context, phase, recipe, dense)
        stage, reference = config.written_by(phase), (yield from _finished(dense))
        measured["dense"] = _against_itself(reference)
        if stage not in measured:
            measured[stage] = yield from _measure(context, stage, external, reference)
    typed_json.write(run.result_path, result_of(run, context, measured, external))
    if not config.keep_weights:
        run.drop_weights()
    yield JobFinished()


def _pruner(config: RunConfig) -> Pruner | None:
    """Return the run's base pruner; None for a checkpoint that was pruned elsewhere.

    Raises:
        SDSError: the pruner is a plugin that is missing or has changed.
    """
    if config.pruner == NO_PRUNER:
        return None
    return load_registry([config.pruner], accepted=[config.pruner_sha256]).make(config.pruner, config.pruner_sha256)


def _against_itself(dense: Evaluation) -> MeasuredPerplexity:
    return MeasuredPerplexity.of(dense.perplexity, dense.perplexity)


def _finished(dense: DenseEvaluation) -> Generator[Event, None, Evaluation]:
    """Finish the dense model's evaluation, and report its perplexity, unless that was done before."""
    if dense.found is None:
        found = yield from dense.finish()
        yield PerplexityMeasured(stage="dense", perplexity=_against_itself(found))
    assert dense.found
    return dense.found


def _measure(
    context: RunContext, stage: Stage, external: ExternalCheckpoint | None, dense: Evaluation
) -> Generator[Event, None, MeasuredPerplexity]:
    """Measure the model at a stage, and report its perplexity beside the dense model's."""
    began = time.monotonic()
    found = yield from measure(context, stage, external.structure if external else None)
    paired = MeasuredPerplexity.of(found.perplexity, dense.perplexity, route_change(found.routes, dense.routes))
    yield PerplexityMeasured(stage=stage, perplexity=paired, seconds=round(time.monotonic() - began, 3))
    return paired


def _external(context: RunContext) -> ExternalCheckpoint | None:
    """Return the checkpoint that the run inspects, if that is its purpose."""
    config = context.config
    if not config.checkpoint:
        return None
    external = ExternalCheckpoint(config.checkpoint, context.loaded, context.structure, config.dtype)
    external.refuse_other(config.parsed_pattern())
    return external


def _by_block(context: RunContext, cache: ModelCache, past: list[Event]) -> Generator[Event, None, tuple[Pattern, ...]]:
    """Return every block's pattern where the allocation makes them differ, from the record if it has them."""
    pattern = context.config.parsed_pattern()
    if context.config.allocation == "uniform":
        return ()
    assert isinstance(pattern, Unstructured)
    allocated = first(past, SparsityAllocated)
    if allocated is None:
        cache.restore_dense()
        blocks = owl(context.structure, context.calibration, pattern.ratio, context.device)
        ratios = yield from reported(context, "outliers", blocks)
        allocated = SparsityAllocated(ratios=tuple(ratios))
        yield allocated
    return tuple(map(Unstructured, allocated.ratios))


def _identity(context: RunContext, external: ExternalCheckpoint | None, before: ModelLoaded | None) -> ModelLoaded:
    """Return the identity of everything the run works on: files, windows, counts, precision as it was `before`."""
    loaded, structure = context.loaded, context.structure
    calibration, evaluation = context.texts
    return ModelLoaded(
        model=loaded.name,
        folder=str(loaded.folder),
        dtype=str(loaded.model.dtype).removeprefix("torch."),
        device=str(context.device),
        weights=loaded.store.kind,
        sha256=loaded.sha256 | (external.sha256 if external else {}),
        blocks=len(structure.blocks),
        prunable=structure.prunable,
        total=structure.total,
        matrices=structure.matrices,
        excluded=structure.excluded,
        families=families(loaded.model),
        bos=bos_used(loaded, context.config.bos),
        observation=before.observation if before else _observation(context),
        calibration=calibration,
        evaluation=evaluation,
    )


def _observation(context: RunContext) -> Literal["model", "bfloat16"]:
    """Return the precision of the products with which a new run observes its model."""
    asked = context.config.observation
    if asked == "model" or context.loaded.model.dtype != torch.float32:
        return "model"
    return "bfloat16" if asked == "bfloat16" or is_faster(context.device) else "model"


def _refuse_changes(run: Run, past: list[Event], now: ModelLoaded) -> None:
    """Refuse to continue a run with other files than it began with.

    Raises:
        SDSError: a file of the model or a text has changed; it is named.
    """
    before = first(past, ModelLoaded)
    if before is None:
        return
    changed = changed_files(before.sha256, now.sha256)
    changed += ["the calibration text"] if before.calibration.sha256 != now.calibration.sha256 else []
    changed += ["the evaluation text"] if before.evaluation.sha256 != now.evaluation.sha256 else []
    if changed:
        raise SDSError(
            f"run {run.id} cannot go on: {', '.join(changed)} changed since it began",
            cure="put the old files back, or start a new run",
        )


def _bytes_needed(run: Run, context: RunContext) -> int:
    """Return the disk space of all checkpoints to come, and a little for records."""
    stages = [run.config.written_by(phase) for phase in run.config.phases]
    stored = sum(path.stat().st_size for stage in stages for path in (run.folder / FOLDERS[stage]).glob("*"))
    needed = len(stages) * context.stage_bytes - stored + (2 * state_bytes(context) if run.config.distillation else 0)
    return max(needed, 0) + (16 << 20)
