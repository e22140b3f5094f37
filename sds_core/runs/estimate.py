"""Forecast time, memory and disk of a run from an earlier, similar run on this machine, or not at all."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sds_core.errors import SDSError
from sds_core.models.device import machine
from sds_core.runs.config import RunConfig
from sds_core.runs.events import BlockFinished, of_kind
from sds_core.runs.run_folder import Run
from sds_core.runs.run_result import RunResult

LOOKED_AT = 30
"""Number of newest runs to search for a similar one."""
ALIKE = ("model", "dtype", "weights", "method", "pruner", "exclude", "schedule", "device", "threads")
"""Options in which similar runs agree."""


@dataclass(frozen=True)
class PastRun:
    """A run that finished on this machine."""

    config: RunConfig
    result: RunResult
    blocks: tuple[BlockFinished, ...]
    """Of its own phases, without inherited ones."""


@dataclass(frozen=True)
class Estimate:
    """The forecast for one run, from a similar one."""

    seconds: float
    """Wall time of all passes and measurements."""
    memory: int
    """Highest resident memory, bytes."""
    disk: int
    """Bytes of weights that remain after the run."""


@dataclass(frozen=True)
class Forecast:
    """The forecast for several runs, one after the other."""

    seconds: float
    memory: int
    disk: int
    unknown: tuple[RunConfig, ...]
    """Runs without a similar earlier run; not part of the sums."""


def past_runs(runs: Iterable[Run]) -> list[PastRun]:
    """Return the runs that finished on this machine; others say nothing about its speed."""
    here, found = machine(), []
    for run in runs:
        try:
            config, result, events = run.config, run.result(), run.log.read()
        except SDSError:  # broken, or of another version, as its own page says
            continue
        if result is not None and result.software.machine == here:
            done = tuple(event for event in of_kind(events, BlockFinished) if event.phase in config.phases)
            found.append(PastRun(config, result, done))
    return found


def forecast(configs: Sequence[RunConfig], past: Sequence[PastRun]) -> Forecast:
    """Return the forecast for several runs."""
    known = {i: found for i, config in enumerate(configs) if (found := estimate(config, past))}
    return Forecast(
        seconds=sum(found.seconds for found in known.values()),
        memory=max((found.memory for found in known.values()), default=0),
        disk=sum(found.disk for found in known.values()),
        unknown=tuple(config for i, config in enumerate(configs) if i not in known),
    )


def estimate(config: RunConfig, past: Iterable[PastRun]) -> Estimate | None:
    """Return the forecast for a configuration; None without a similar finished run.

    The newest run that agrees in the options `ALIKE`, in those of its method and in reconstruction is similar. Its
    time for solving layers is taken as it is, its time for sending data through the model is scaled by the number of
    calibration tokens, and its time for measuring by the number of evaluation tokens. A phase is compared with the
    same phase, and a branch does not count for inherited phases. Memory is that of the similar run.
    """
    for run in past:
        theirs, result = run.config, run.result
        if not run.blocks or not _alike(theirs, config):
            continue
        if theirs.phase and not set(config.phases) <= set(theirs.phases):
            continue
        passes = [phase for phase in config.phases if phase != "distilled"]
        solved = [event for event in run.blocks if event.phase != "distilled"]
        blocks = [event for event in solved if event.phase in passes] or solved
        walking = sum(event.seconds for event in blocks)
        solving = sum(layer.seconds for event in blocks for layer in event.layers)
        seen = (config.samples + config.held_out) * config.length / ((theirs.samples + theirs.held_out) * theirs.length)
        read = _measured(config, run) / _measured(theirs, run)
        phases, timed = len(config.phases), len({event.phase for event in blocks}) or 1
        distilling = result.seconds.get("distilled", 0.0) if config.distillation else 0.0
        measuring = result.measuring_seconds / len(theirs.phases)
        return Estimate(
            seconds=len(passes) * (solving + (walking - solving) * seen) / timed
            + phases * measuring * read
            + distilling * config.length / theirs.length,
            memory=result.peak_memory,
            disk=int(phases * result.weight_bytes) if config.keep_weights else 0,
        )
    return None


def _measured(config: RunConfig, run: PastRun) -> int:
    """Return the tokens that perplexity is measured on; all of a text are as many as the earlier run had."""
    return (config.eval_windows or len(run.result.dense_perplexity.losses)) * config.eval_length


def _alike(one: RunConfig, other: RunConfig) -> bool:
    adjusted = one.reconstruction == other.reconstruction or other.phases[-1] in ("sparse", "redense")
    adjusted = adjusted and other.distillation in (None, one.distillation)
    return (
        adjusted
        and one.made_method() == other.made_method()
        and all(getattr(one, name) == getattr(other, name) for name in ALIKE)
    )
