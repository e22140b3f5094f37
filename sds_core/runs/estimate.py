"""Forecast of time, memory and disk, from earlier runs of the same model on this machine; never a guess."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sds_core.errors import SDSError
from sds_core.models.device import machine
from sds_core.runs.config import RunConfig
from sds_core.runs.events import BlockFinished, of_kind
from sds_core.runs.run_folder import Run
from sds_core.runs.run_result import RunResult

LOOKED_AT = 30
"""Of so many of the newest runs a like one is looked for."""
ALIKE = ("model", "dtype", "weights", "method", "pruner", "exclude", "schedule", "device", "threads")
"""Options in which such a run is the same."""


@dataclass(frozen=True)
class PastRun:
    """A run that finished on this machine."""

    id: str
    config: RunConfig
    result: RunResult
    blocks: tuple[BlockFinished, ...]
    """Of its own phases, not of those that it took over."""


@dataclass(frozen=True)
class Estimate:
    """Of one run, from another."""

    like: str
    """The id of the run that it is judged by."""
    seconds: float
    """Wall time of all walks and measurements."""
    memory: int
    """Highest resident memory, bytes."""
    disk: int
    """Bytes of weights that stay when the run is over."""


@dataclass(frozen=True)
class Forecast:
    """Of several runs, one after the other."""

    seconds: float
    memory: int
    disk: int
    unknown: tuple[RunConfig, ...]
    """Those that no earlier run is like; they are in no sum."""


def past_runs(runs: Iterable[Run]) -> list[PastRun]:
    """Return those of the runs that finished on this machine: others tell how fast another one is."""
    here, found = machine(), []
    for run in runs:
        try:
            config, result, events = run.config, run.result(), run.log.read()
        except SDSError:  # broken, or of another version: its own page says so, and others can still be judged by
            continue
        if result is not None and result.software.machine == here:
            done = tuple(event for event in of_kind(events, BlockFinished) if event.phase in config.phases)
            found.append(PastRun(run.id, config, result, done))
    return found


def forecast(configs: Sequence[RunConfig], past: Sequence[PastRun]) -> Forecast:
    """Return the forecast for several runs."""
    found = {i: one for i, config in enumerate(configs) if (one := estimate(config, past))}
    return Forecast(
        seconds=sum(one.seconds for one in found.values()),
        memory=max((one.memory for one in found.values()), default=0),
        disk=sum(one.disk for one in found.values()),
        unknown=tuple(config for i, config in enumerate(configs) if i not in found),
    )


def estimate(config: RunConfig, past: Iterable[PastRun]) -> Estimate | None:
    """Return the forecast for a configuration; None where no finished run is like it.

    Like it is the newest run of the same model, precision, place of weights, method, base pruner, skipped layers, walk,
    device, threads and reconstruction. Its time for solving layers stays, that for sending data through the model
    grows with the number of calibration tokens, and that for measuring with the number of evaluation tokens. A phase is
    judged by the same one, and a branch says nothing of the phases that it took over. Memory is the other run's.
    """
    for run in past:
        theirs, result = run.config, run.result
        if not run.blocks or not _alike(theirs, config):
            continue
        if theirs.phase and not set(config.phases) <= set(theirs.phases):
            continue
        blocks = [event for event in run.blocks if event.phase in config.phases] or run.blocks
        walking = sum(event.seconds for event in blocks)
        solving = sum(layer.seconds for event in blocks for layer in event.layers)
        seen = (config.samples + config.held_out) * config.length / ((theirs.samples + theirs.held_out) * theirs.length)
        read = config.eval_windows * config.eval_length / (theirs.eval_windows * theirs.eval_length)
        phases, timed = len(config.phases), len({event.phase for event in blocks})
        measuring = result.measuring_seconds / len(theirs.phases)
        return Estimate(
            like=run.id,
            seconds=phases * ((solving + (walking - solving) * seen) / timed + measuring * read),
            memory=result.peak_memory,
            disk=int(phases * result.weight_bytes) if config.keep_weights else 0,
        )
    return None


def _alike(one: RunConfig, other: RunConfig) -> bool:
    adjusted = one.reconstruction == other.reconstruction or other.phases[-1] in ("sparse", "redense")
    return adjusted and all(getattr(one, name) == getattr(other, name) for name in ALIKE)
