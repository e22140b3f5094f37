"""How far a job has come, read from its events; command line and pages show the same."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from sds_core.pruning.stages import STAGE_NAMES, Phase
from sds_core.runs.distillation_curve import steps_of_record
from sds_core.runs.events import (
    BlockFinished,
    DistillationSaved,
    DistillationStarted,
    DistillationStep,
    Event,
    JobCancelled,
    JobFailed,
    JobQueued,
    Measuring,
    ModelLoaded,
    PerplexityMeasured,
    PhaseStarted,
    RunStarted,
    TextModelLoading,
    TextReadingStarted,
    of_kind,
)

PHASE_NAMES: dict[Phase, str] = {
    "fused": "All phases, block after block",
    "sparse": f"Phase 1, {STAGE_NAMES['sparse']}",
    "redense": f"Phase 2, {STAGE_NAMES['redense']}",
    "final": f"Phase 3, {STAGE_NAMES['final']}",
    "distilled": f"Then {STAGE_NAMES['distilled']}",
}
RECENT_BLOCKS = 9
"""The time left is estimated from the median of this many last blocks or steps."""


@dataclass(frozen=True, kw_only=True)
class PhaseProgress:
    """How far one phase has come: a pass in blocks, distillation in steps."""

    phase: Phase
    done: int
    """Finished blocks or steps."""
    of: int
    """All of them; 0 while that is not known."""
    seconds_left: float | None
    """None before the first and after the last one."""

    def line(self, live: bool = True) -> str:
        """Return it as a line; only a live job has time left."""
        left = f", {duration(self.seconds_left)} left" if live and self.seconds_left is not None else ""
        unit = "step" if self.phase == "distilled" else "block"
        return f"{PHASE_NAMES[self.phase]}: {unit} {self.done} of {self.of or '…'}{left}"


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a job has come."""

    activity: str
    """The work under way, as a sentence."""
    phases: tuple[PhaseProgress, ...]
    """The phases that a run consists of; none for a text query."""
    current: PhaseProgress | None
    """The one that is under way."""
    message: str
    """Why the job failed or was cancelled; empty if neither happened."""


def progress(events: Sequence[Event], phases: Sequence[Phase] = ()) -> Progress:
    """Return how far a job has come.

    Args:
        events: its log.
        phases: the passes over the blocks that it consists of.
    """
    loaded = of_kind(events, ModelLoaded)
    of = loaded[-1].blocks if loaded else 0
    found = tuple(
        _distilling(events) if phase == "distilled" else _phase_progress(phase, of, of_kind(events, BlockFinished))
        for phase in phases
    )
    last = events[-1] if events else None
    ended = last if isinstance(last, JobFailed | JobCancelled) else None
    return Progress(
        activity=_activity(last),
        phases=found,
        current=next((phase for phase in found if phase.phase == _phase_of(last)), None),
        message=ended.message if ended else "",
    )


def _phase_of(last: Event | None) -> Phase | None:
    """Return the phase that an event is about."""
    if isinstance(last, DistillationStarted | DistillationStep | DistillationSaved):
        return "distilled"
    return last.phase if isinstance(last, PhaseStarted | BlockFinished) else None


def _distilling(events: Sequence[Event]) -> PhaseProgress:
    steps = steps_of_record(events)
    of = max((event.steps for event in of_kind(events, DistillationStarted)), default=0)
    done = steps[-1].step if steps else 0
    pace = statistics.median(step.seconds for step in steps[-RECENT_BLOCKS:]) if 0 < done < of else None
    return PhaseProgress(phase="distilled", done=done, of=of, seconds_left=None if pace is None else pace * (of - done))


def _phase_progress(phase: Phase, of: int, blocks: Sequence[BlockFinished]) -> PhaseProgress:
    seconds = {block.block: block.seconds for block in blocks if block.phase == phase and block.block < of}
    left = of - len(seconds)
    pace = statistics.median(list(seconds.values())[-RECENT_BLOCKS:]) if seconds and left > 0 else None
    return PhaseProgress(phase=phase, done=len(seconds), of=of, seconds_left=None if pace is None else pace * left)


def _activity(last: Event | None) -> str:
    match last:
        case None:
            return "Starting."
        case JobQueued(behind=behind):
            return f"Waiting for {behind}, which uses the same device."
        case RunStarted() | ModelLoaded():
            return "Loading the model and its texts."
        case Measuring(what=what, block=block, of=of):
            counting = "Counting the dense model’s outliers"
            doing = counting if what == "outliers" else f"Measuring the {STAGE_NAMES[what]} model’s perplexity"
            return f"{doing}: block {block + 1} of {of}."
        case PerplexityMeasured(stage=stage) if stage != "dense":
            return "Writing the results."
        case DistillationStarted() | DistillationStep() | DistillationSaved():
            return "Distilling."
        case TextModelLoading(model=model):
            return f"Loading {model}."
        case TextReadingStarted(name=name, model=model, of=of):
            return f"Model {model + 1} of {of}, {name}, reads and writes."
        case _:
            return "Pruning."


def duration(seconds: float) -> str:
    """Return a time in words, in the unit that suits it."""
    if seconds < 90:
        return f"about {max(round(seconds), 1)} s"
    return f"about {seconds / 60:.0f} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"
