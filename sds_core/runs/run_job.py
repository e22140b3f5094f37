"""One run from its configuration to its result: load, measure the dense model, walk, measure again, store."""

import platform
import shutil
import time
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from functools import partial
from typing import Any

import torch
import transformers
from torch import Tensor

import sds_core
from sds_core.errors import SDSError
from sds_core.layer_result import LayerResult
from sds_core.models.calibration import digest
from sds_core.models.device import allow_fast_matmul, machine, peak_memory, pick_device
from sds_core.models.outliers import owl
from sds_core.pruning.pattern import Pattern, Unstructured
from sds_core.pruning.perplexity import Perplexity
from sds_core.pruning.registry import NO_PRUNER
from sds_core.pruning.stages import Phase, Stage
from sds_core.runs import checkpoint, layer_stats
from sds_core.runs.checkpoint import Checkpoints
from sds_core.runs.events import (
    BlockFinished,
    Event,
    JobFinished,
    LayerSummary,
    MeasuredPerplexity,
    ModelLoaded,
    PerplexityMeasured,
    PhaseStarted,
    RunStarted,
    Software,
    SparsityAllocated,
    TextWindows,
    first,
    of_kind,
)
from sds_core.runs.external import ExternalCheckpoint
from sds_core.runs.files import require_space, write_json
from sds_core.runs.model_cache import ModelCache, use_threads
from sds_core.runs.plugins import load_registry
from sds_core.runs.run_folder import FOLDERS, Run
from sds_core.runs.run_result import ReconstructionSummary, RunResult
from sds_core.runs.typed_json import to_json
from sds_core.sds import Recipe, run_phase


def experiment(run: Run, bench: ModelCache) -> Iterator[Event]:
    """Do what a run's configuration asks for, going on from what its record says is done.

    Yields:
        Events for the run's log. Those of kind `measuring` only tell that time passes.

    Raises:
        SDSError: whatever the user can cause; finished blocks stay on disk.
    """
    config, past = run.config, run.log.read()
    pruners = load_registry([config.pruner], accepted=[config.pruner_sha256])
    pruner = None if config.pruner == NO_PRUNER else pruners.make(config.pruner, config.pruner_sha256)
    started = first(past, RunStarted)
    threads = use_threads(started.threads if started else config.threads)
    yield RunStarted(threads=threads, matmul=allow_fast_matmul(pick_device(config.device)), software=_software())
    bench.open(config)
    opened = _opened(bench)
    identity = _identity(bench, opened)
    _same_as_before(run, past, identity)
    yield identity
    require_space(run.folder, _bytes_needed(run, bench))

    dense = yield from bench.measure_dense()
    yield PerplexityMeasured(stage="dense", perplexity=MeasuredPerplexity.of(dense, dense))
    recipe = Recipe(
        pruner=pruner,
        method=config.made_method(),
        pattern=config.parsed_pattern(),
        by_block=(yield from _by_block(bench, past)),
        given=opened.given if opened else None,
    )
    measured: dict[Stage, Perplexity] = {e.stage: e.perplexity.perplexity for e in of_kind(past, PerplexityMeasured)}
    measured["dense"] = dense
    for phase in config.phases:
        bench.restore_dense()
        bench.changed = True
        yield from _walk(run, bench, phase, recipe)
        stage = config.written_by(phase)
        if stage not in measured:
            began = time.monotonic()
            measured[stage] = yield from bench.measure(stage, opened.structure if opened else None)
            seconds = round(time.monotonic() - began, 3)
            yield PerplexityMeasured(
                stage=stage, perplexity=MeasuredPerplexity.of(measured[stage], dense), seconds=seconds
            )
    write_json(run.folder / "result.json", to_json(_result(run, bench, measured, opened)))
    if not config.keep_weights:
        for folder in FOLDERS.values():
            shutil.rmtree(run.folder / folder, ignore_errors=True)
    yield JobFinished()


def _opened(bench: ModelCache) -> ExternalCheckpoint | None:
    """The checkpoint that is only looked at, if that is what the run is for."""
    if not bench.config.checkpoint:
        return None
    opened = ExternalCheckpoint(bench.config.checkpoint, bench.loaded, bench.structure, bench.config.dtype)
    opened.refuse_other(bench.config.parsed_pattern())
    return opened


def _by_block(bench: ModelCache, past: list[Event]) -> Generator[Event, None, tuple[Pattern, ...]]:
    """Every block's pattern where the allocation makes them differ; what the record says already is not asked again."""
    pattern = bench.config.parsed_pattern()
    if bench.config.allocation == "uniform":
        return ()
    assert isinstance(pattern, Unstructured)
    allocated = first(past, SparsityAllocated)
    if allocated is None:
        bench.restore_dense()
        ratios = yield from bench.following(
            "outliers", owl(bench.structure, bench.calibration, pattern.ratio, bench.device)
        )
        allocated = SparsityAllocated(ratios=tuple(ratios))
        yield allocated
    return tuple(map(Unstructured, allocated.ratios))


def _walk(run: Run, bench: ModelCache, phase: Phase, recipe: Recipe) -> Iterator[Event]:
    """One walk over the blocks, each block's results stored before it is reported."""
    config, blocks = run.config, bench.structure.blocks
    stage = config.written_by(phase)
    past = Checkpoints(run, stage)
    if past.finished == len(blocks):
        for block in blocks:
            bench.structure.store.change(block.module, partial(past.restore, block))
        return
    yield PhaseStarted(phase=phase, stage=stage, of=len(blocks))
    began, used = time.monotonic(), time.process_time()
    rows, layers, weights = list[dict[str, Any]](), dict[str, LayerSummary](), dict[str, Tensor]()
    windows = torch.cat([bench.calibration, bench.held_out])
    for event in run_phase(phase, bench.structure, windows, recipe, bench.device, past, len(bench.held_out)):
        if isinstance(event, LayerResult):  # what is not kept is let go at once: a block's rounds would fill a GPU
            its_rows = layer_stats.rows(event)
            rows += its_rows
            layers[event.linear.label] = _summary(event, its_rows, layers.get(event.linear.label))
            for done in event.stages:
                if done.stage == stage:
                    weights |= checkpoint.packed(event.linear, done)
            del event
            continue
        block = blocks[event.block]
        if rows:
            layer_stats.save(run.folder / "distributions" / f"{phase}-{event.block:03}.parquet", rows)
        sha256 = checkpoint.save(run, stage, block, weights)
        yield BlockFinished(
            phase=phase,
            stage=stage,
            block=event.block,
            of=len(blocks),
            seconds=round(time.monotonic() - began, 3),
            cpu_seconds=round(time.process_time() - used, 3),
            sha256=sha256,
            layers=tuple(layers.values()),
            reconstruction=event.change,
        )
        began, used = time.monotonic(), time.process_time()
        rows, layers, weights = [], {}, {}


def _summary(solved: LayerResult, rows: list[dict[str, Any]], earlier: LayerSummary | None) -> LayerSummary:
    """Return a layer's losses by stage and the exact counts of its last mask, added to what was reported before."""
    masks = [mask for _, _, mask in solved.stages if mask is not None]
    loss = {row["stage"]: row["loss"] for row in rows if row["round"] == 0}
    return LayerSummary(
        linear=solved.linear.label,
        seconds=round(solved.seconds, 3),
        chosen=solved.chosen,
        loss=(earlier.loss if earlier else {}) | loss,
        pruned=int((~masks[-1]).sum()) if masks else 0,
        weights=masks[-1].numel() if masks else 0,
    )


def _software() -> Software:
    return Software(
        version=sds_core.__version__,
        python=platform.python_version(),
        torch=torch.__version__,
        transformers=transformers.__version__,
        machine=machine(),
    )


def _identity(bench: ModelCache, opened: ExternalCheckpoint | None) -> ModelLoaded:
    """What exactly is worked on: files, windows, counts."""
    structure = bench.structure
    calibration, evaluation = _texts(bench)
    return ModelLoaded(
        model=bench.loaded.name,
        folder=str(bench.loaded.folder),
        dtype=str(bench.loaded.model.dtype).removeprefix("torch."),
        device=str(bench.device),
        weights=bench.loaded.store.kind,
        sha256=bench.loaded.sha256 | (opened.sha256 if opened else {}),
        blocks=len(structure.blocks),
        prunable=structure.prunable,
        total=structure.total,
        matrices=structure.matrices,
        excluded=structure.excluded,
        calibration=calibration,
        evaluation=evaluation,
    )


def _texts(bench: ModelCache) -> tuple[TextWindows, TextWindows]:
    """Both texts as they are used."""
    windows = (bench.calibration, bench.evaluation)
    calibration, evaluation = (
        TextWindows(text=text, sha256=digest(ids)) for text, ids in zip(bench.config.texts, windows, strict=True)
    )
    return calibration, evaluation


def _same_as_before(run: Run, past: list[Event], now: ModelLoaded) -> None:
    """A resumed or branched run must find the files it began with.

    Raises:
        SDSError: a file of the model or a text has changed; it is named.
    """
    before = first(past, ModelLoaded)
    if before is None:
        return
    changed = [name for name, sha256 in before.sha256.items() if now.sha256.get(name) != sha256]
    changed += ["the calibration text"] if before.calibration.sha256 != now.calibration.sha256 else []
    changed += ["the evaluation text"] if before.evaluation.sha256 != now.evaluation.sha256 else []
    if changed:
        raise SDSError(
            f"run {run.id} cannot go on: {', '.join(changed)} changed since it began",
            cure="put the old files back, or start a new run",
        )


def _bytes_needed(run: Run, bench: ModelCache) -> int:
    """Disk space of all checkpoints to come: weights in the model's precision, masks in bits, a little for records."""
    stages = [run.config.written_by(phase) for phase in run.config.phases]
    there = sum(path.stat().st_size for stage in stages for path in (run.folder / FOLDERS[stage]).glob("*"))
    return max(len(stages) * _weight_bytes(bench) - there, 0) + (16 << 20)


def _weight_bytes(bench: ModelCache) -> int:
    """Size of one stage's checkpoints."""
    return int(bench.structure.prunable * (bench.loaded.model.dtype.itemsize + 1 / 8))


def _result(
    run: Run, bench: ModelCache, measured: dict[Stage, Perplexity], opened: ExternalCheckpoint | None
) -> RunResult:
    """The run in numbers."""
    events = run.log.read()
    blocks = of_kind(events, BlockFinished)
    last = run.config.written_by(run.config.phases[-1])
    of_last = [block for block in blocks if block.stage == last]
    layers = [layer for block in of_last for layer in block.layers]
    calibration, evaluation = _texts(bench)
    return RunResult(
        perplexity={stage: MeasuredPerplexity.of(one, measured["dense"]) for stage, one in measured.items()},
        last=last,
        pruned=sum(layer.pruned for layer in layers),
        prunable=bench.structure.prunable,
        total=bench.structure.total,
        excluded=bench.structure.excluded,
        other_differing_tensors=tuple(opened.other_differing_tensors) if opened else (),
        chosen=dict(Counter(layer.chosen for layer in layers if layer.chosen)),
        reconstruction=ReconstructionSummary.of_blocks([b.reconstruction for b in of_last if b.reconstruction]),
        seconds=_by_phase((block.phase, block.seconds) for block in blocks),
        cpu_seconds=_by_phase((block.phase, block.cpu_seconds) for block in blocks),
        measuring_seconds=round(sum(event.seconds for event in of_kind(events, PerplexityMeasured)), 1),
        peak_memory=peak_memory(),
        weight_bytes=_weight_bytes(bench),
        command=run.config.command(),
        calibration=calibration,
        evaluation=evaluation,
        software=_software(),
    )


def _by_phase(seconds: Iterable[tuple[Phase, float]]) -> dict[Phase, float]:
    """Sums by phase."""
    total = dict[Phase, float]()
    for phase, taken in seconds:
        total[phase] = total.get(phase, 0.0) + taken
    return {phase: round(taken, 1) for phase, taken in total.items()}
