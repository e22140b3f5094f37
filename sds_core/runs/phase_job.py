"""One phase of a run: a pass over the blocks, whose results are stored block by block."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from sds_core.layer_result import LayerResult
from sds_core.pruning.stages import Pass, Stage
from sds_core.runs import checkpoint, layer_stats
from sds_core.runs.checkpoint import Checkpoints
from sds_core.runs.events import BlockFinished, Event, PhaseStarted
from sds_core.runs.layer_row import LayerRow
from sds_core.runs.measure import DenseEvaluation
from sds_core.runs.recorded_values import LayerSummary
from sds_core.runs.run_context import RunContext
from sds_core.runs.run_folder import DISTRIBUTIONS, Run
from sds_core.sds import Recipe, report_phase


def run_phase_job(
    run: Run, context: RunContext, phase: Pass, recipe: Recipe, dense: DenseEvaluation
) -> Iterator[Event]:
    """Pass over the blocks once; a block's results are stored before it is reported.

    The dense model's evaluation, unless it is finished, keeps just ahead.
    """
    config, blocks = run.config, context.structure.blocks
    stage = config.written_by(phase)
    past = Checkpoints(run, stage)
    if past.finished == len(blocks):
        dense.reach(len(blocks) - 1)
        for block in blocks:
            context.structure.store.change(block.module, partial(past.restore, block))
        return
    yield PhaseStarted(phase=phase, stage=stage, of=len(blocks))
    dense.reach(past.finished)
    began, used = time.monotonic(), time.process_time()
    rows, layers, masks = list[LayerRow](), dict[str, LayerSummary](), dict[str, Tensor]()
    windows = torch.cat([context.calibration, context.held_out])
    held_out, record = len(context.held_out), partial(_record, stage)
    for event in report_phase(phase, context.structure, windows, recipe, context.device, past, held_out, record):
        if isinstance(event, _LayerRecord):
            label, summary = event.summary.linear, event.summary
            rows += event.rows
            layers[label] = replace(summary, loss=layers[label].loss | summary.loss) if label in layers else summary
            if event.mask is not None:
                masks[label] = event.mask
            continue
        block = blocks[event.block]
        if rows:
            run.make_folder(DISTRIBUTIONS)
            layer_stats.save(run.folder / DISTRIBUTIONS / f"{phase}-{event.block:03}.parquet", rows)
        sha256 = checkpoint.save(run, stage, block, checkpoint.packed(block, masks))
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
        dense.reach(min(event.block + 1, len(blocks) - 1))
        began, used = time.monotonic(), time.process_time()
        rows, layers, masks = [], {}, {}


@dataclass(frozen=True, eq=False)
class _LayerRecord:
    """All that is kept of a solved layer. Its weights are freed at once: those of a block would fill a GPU."""

    rows: list[LayerRow]
    summary: LayerSummary
    mask: Tensor | None
    """The stage's mask as it is stored."""


def _record(stage: Stage, solved: LayerResult) -> _LayerRecord:
    """Record a layer of a phase that writes a stage."""
    rows = layer_stats.rows(solved)
    masks = [checkpoint.packed_mask(mask) for name, _, mask in solved.stages if name == stage and mask is not None]
    return _LayerRecord(rows, _summary(solved, rows), masks[0] if masks else None)


def _summary(solved: LayerResult, rows: list[LayerRow]) -> LayerSummary:
    """Return a layer's losses by stage and the exact counts of its last mask."""
    masked = [stage for stage, _, mask in solved.stages if mask is not None]
    weights = solved.problem.weight.numel()
    pruned = [round(row.sparsity * weights) for row in rows if [row.stage] == masked[-1:] and row.round == 0]
    loss: dict[Stage, float] = {row.stage: row.loss for row in rows if row.round == 0 and row.stage != "pruned"}
    return LayerSummary(
        linear=solved.linear.label,
        seconds=round(solved.seconds, 3),
        chosen=solved.chosen,
        loss=loss,
        pruned=pruned[0] if pruned else 0,
        weights=weights if pruned else 0,
        scarcity=solved.scarcity,
    )
