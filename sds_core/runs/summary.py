"""The result of a run, summed up from its record and from what was measured."""

import platform
from collections import Counter
from collections.abc import Iterable

import torch
import transformers

import sds_core
from sds_core.models.device import machine, peak_memory
from sds_core.pruning.stages import STAGE_NAMES, Phase, Stage
from sds_core.runs.distillation_curve import steps_of_record, summary
from sds_core.runs.events import BlockFinished, PerplexityMeasured, of_kind
from sds_core.runs.external import ExternalCheckpoint
from sds_core.runs.recorded_values import MeasuredPerplexity, Software
from sds_core.runs.run_command import command
from sds_core.runs.run_context import RunContext
from sds_core.runs.run_folder import Run
from sds_core.runs.run_result import ReconstructionSummary, RunResult


def software() -> Software:
    """Return the versions that a run is computed with, and the machine."""
    return Software(
        version=sds_core.__version__,
        python=platform.python_version(),
        torch=torch.__version__,
        transformers=transformers.__version__,
        machine=machine(),
    )


def result_of(
    run: Run, context: RunContext, measured: dict[Stage, MeasuredPerplexity], external: ExternalCheckpoint | None
) -> RunResult:
    """Return a run's result from its record, its model as it is now, and the perplexities measured."""
    events = run.log.read()
    blocks = of_kind(events, BlockFinished)
    last = run.config.written_by(run.config.phases[-1])
    of_last = list({block.block: block for block in blocks if block.stage == last}.values())
    of_solved = [block for block in blocks if block.stage == run.config.one_shot] if last == "distilled" else of_last
    layers, solved = ([layer for block in found for layer in block.layers] for found in (of_last, of_solved))
    calibration, evaluation = context.texts
    steps, measurements = steps_of_record(events), of_kind(events, PerplexityMeasured)
    taken: list[tuple[Phase, float]] = [("distilled", step.seconds) for step in steps]
    taken_cpu: list[tuple[Phase, float]] = [("distilled", step.cpu_seconds) for step in steps]
    dense = measured["dense"].perplexity
    in_order = [(stage, measured[stage]) for stage in STAGE_NAMES if stage in measured]
    return RunResult(
        perplexity={s: MeasuredPerplexity.of(found.perplexity, dense, found.routes) for s, found in in_order},
        last=last,
        pruned=sum(layer.pruned for layer in layers),
        prunable=context.structure.prunable,
        total=context.structure.total,
        zeros=(external.structure if external else context.structure).count_zeros(),
        excluded=context.structure.excluded,
        other_differing_tensors=tuple(external.other_differing_tensors) if external else (),
        scarce=dict(Counter(layer.scarcity for layer in solved if layer.scarcity)),
        chosen=dict(Counter(layer.chosen for layer in solved if layer.chosen)),
        reconstruction=ReconstructionSummary.of_blocks([b.reconstruction for b in of_solved if b.reconstruction]),
        distillation=summary(events) if last == "distilled" else None,
        seconds=_by_phase([(block.phase, block.seconds) for block in blocks] + taken),
        cpu_seconds=_by_phase([(block.phase, block.cpu_seconds) for block in blocks] + taken_cpu),
        measuring_seconds=round(sum(event.seconds for event in measurements if event.inherited_from is None), 1),
        peak_memory=peak_memory(),
        weight_bytes=context.stage_bytes,
        command=command(run.config),
        calibration=calibration,
        evaluation=evaluation,
        software=software(),
    )


def _by_phase(seconds: Iterable[tuple[Phase, float]]) -> dict[Phase, float]:
    """Return the sums by phase."""
    total = dict[Phase, float]()
    for phase, taken in seconds:
        total[phase] = total.get(phase, 0.0) + taken
    return {phase: round(taken, 1) for phase, taken in total.items()}
