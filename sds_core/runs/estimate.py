"""Forecast of a run's time, memory and disk from earlier runs of the same model on this machine; never a guess."""

from collections.abc import Iterable
from dataclasses import dataclass

from sds_core.errors import SDSError
from sds_core.models.device import machine
from sds_core.runs.config import RunConfig
from sds_core.runs.events import BlockFinished, of_kind
from sds_core.runs.run_folder import Run

LOOKED_AT = 30
"""Of so many of the newest runs a like one is looked for."""
ALIKE = ("model", "dtype", "weights", "method", "pruner", "exclude", "schedule", "device", "threads")
"""Options in which such a run is the same."""


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


def estimate(config: RunConfig, runs: Iterable[Run]) -> Estimate | None:
    """Return the forecast for a configuration; None where no finished run is like it.

    Like it is the newest run of the same model, precision, place of weights, method, base pruner, skipped layers, walk,
    device, threads and block epochs whose record was made on this machine, or one alike to the letter: examples and
    imported runs tell how fast another one is. Its time for solving layers stays, that for sending data through the
    model grows with the number of calibration tokens, and that for measuring with the number of evaluation tokens. A
    phase is judged by the same one, where the other run has it. Memory is the other run's.
    """
    here = machine()
    for run in runs:
        try:
            theirs, result, events = run.config, run.result(), run.log.read()
        except SDSError:  # broken, or of another version: its own page says so, and others can still be judged by
            continue
        if result is None or result.software.machine != here or theirs.parent or not _alike(theirs, config):
            continue
        done = of_kind(events, BlockFinished)
        if not done:
            continue
        blocks = [event for event in done if event.phase in config.phases] or done
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
    epochs = {config.made_method().block_epochs for config in (one, other)}
    same_epochs = len(epochs) == 1 or other.phases[-1] in ("sparse", "redense")  # where no block is adjusted
    return same_epochs and all(getattr(one, name) == getattr(other, name) for name in ALIKE)
