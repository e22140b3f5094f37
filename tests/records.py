"""Events and results written by hand: complete ones, in which a test names only what it is about."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sds_core.pruning.bins import BINS
from sds_core.pruning.perplexity import Perplexity
from sds_core.pruning.stages import Phase, Stage
from sds_core.runs import typed_json
from sds_core.runs.event_log import to_line
from sds_core.runs.events import BlockFinished, Event, ModelLoaded, RunStarted
from sds_core.runs.layer_row import LayerRow
from sds_core.runs.recorded_values import LayerSummary, MeasuredPerplexity, Software, TextWindows
from sds_core.runs.run_folder import Run
from sds_core.runs.run_result import RunResult

SOFTWARE = Software(version="1", python="3.11", torch="2.13.0", transformers="5", machine="a machine")
WINDOWS = TextWindows(text="self", sha256="0")


def run_started(**changes: Any) -> RunStarted:
    return RunStarted(**{"threads": 1, "matmul": "highest", "software": SOFTWARE} | changes)


def model_loaded(**changes: Any) -> ModelLoaded:
    usual = {"model": "somewhere", "folder": "/somewhere", "dtype": "float32", "device": "cpu", "weights": "memory"}
    counts = {
        "blocks": 3,
        "prunable": 80,
        "total": 100,
        "matrices": 80,
        "sha256": {},
        "excluded": {},
        "bos": "none",
    } | {"families": ("llama",)}
    return ModelLoaded(**usual | counts | {"calibration": WINDOWS, "evaluation": WINDOWS} | changes)


def block_finished(block: int = 0, phase: Phase = "fused", seconds: float = 2.0, **changes: Any) -> BlockFinished:
    stage: Stage = "final" if phase == "fused" else phase
    usual = {"phase": phase, "stage": stage, "block": block, "of": 3, "seconds": seconds, "cpu_seconds": 1.0}
    return BlockFinished(**usual | {"sha256": "0", "layers": ()} | changes)


def layer_summary(linear: str = "self_attn.q_proj", **changes: Any) -> LayerSummary:
    return LayerSummary(**{"linear": linear, "seconds": 1.0, "loss": {}} | changes)


def run_result(losses: Mapping[Stage, Sequence[float]] | None = None, **changes: Any) -> RunResult:
    """A result with these losses by stage, those of the dense model among them; the last stage is the run's last."""
    given: dict[Stage, Sequence[float]] = dict(losses or {"dense": (2.0, 2.5), "final": (2.6, 3.2)})
    measured = {stage: Perplexity(tuple(values), 31) for stage, values in given.items()}
    usual = {
        "perplexity": {stage: MeasuredPerplexity.of(one, measured["dense"]) for stage, one in measured.items()},
        "last": [stage for stage in given if stage != "dense"][-1],
        "pruned": 40,
        "prunable": 80,
        "total": 100,
        "zeros": 45,
        "excluded": {},
        "chosen": {},
        "seconds": {"fused": 1.0},
        "cpu_seconds": {"fused": 1.0},
        "measuring_seconds": 1.0,
        "peak_memory": 1,
        "weight_bytes": 1,
        "command": "python -m sds_core run",
        "calibration": WINDOWS,
        "evaluation": WINDOWS,
        "software": SOFTWARE,
    }
    return RunResult(**usual | changes)


def layer_row(**changes: Any) -> LayerRow:
    """A row of the distributions."""
    names = {
        "block": 0,
        "linear": "self_attn.q_proj",
        "name": "layers.0.self_attn.q_proj",
        "stage": "final",
        "round": 0,
    }
    numbers = dict.fromkeys(("dense_std", "std", "kurtosis", "near_zero", "sparsity", "loss", "prune_energy"), 0.5)
    counts = {"columns": 8, "counts": [1] * BINS, "below": 0, "above": 0, "zeros": 0}
    return LayerRow(**names | counts | numbers | {"mask_changed": 0.0, "held_out": 0.0} | changes)


def write_log(run: Run, events: Sequence[Event]) -> None:
    """Replace a run's log by these events."""
    run.log.path.write_text("".join(map(to_line, events)), encoding="utf-8")


def change_model(run: Run, **changes: Any) -> None:
    """Change what a run's record says of its model."""
    write_log(run, [replace(one, **changes) if isinstance(one, ModelLoaded) else one for one in run.log.read()])


def write_result(run: Run, result: RunResult) -> None:
    """Give a run this result."""
    typed_json.write(run.folder / "result.json", result)
