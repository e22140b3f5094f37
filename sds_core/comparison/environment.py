"""The environment in which a run was computed, and how it differs from another run's."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

from sds_core.errors import SDSError
from sds_core.runs.events import (
    BlockFinished,
    DistillationStep,
    Event,
    ModelLoaded,
    PerplexityMeasured,
    RunStarted,
    of_kind,
)
from sds_core.runs.run_folder import Run


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Settings that may change a run's rounding."""

    processor: str
    """The CPU, or the GPUs where one was used."""
    device: str
    threads: str
    matmul: str
    """Permitted precision of float32 matrix products."""
    dtype: str
    observation: str
    version: str
    """Of SDS Studio."""
    python: str
    torch: str
    transformers: str


WORDS = {
    "processor": "another processor",
    "device": "another device",
    "threads": "another number of threads",
    "matmul": "another precision of matrix products",
    "dtype": "another precision of the model",
    "observation": "another precision of the passes over the calibration text",
    "version": "another version of SDS Studio",
    "python": "another version of Python",
    "torch": "another version of torch",
    "transformers": "another version of transformers",
}


def environment(run: Run) -> Environment:
    """Return the environment of a run, from its record; of one that was resumed elsewhere, each value that it had.

    Raises:
        SDSError: the record is broken or incomplete.
    """
    attempts = list[tuple[RunStarted, list[Event]]]()
    for event in run.log.read():
        if isinstance(event, RunStarted):
            attempts.append((event, []))
        elif attempts:
            attempts[-1][1].append(event)
    loaded = [(start, models[-1], events) for start, events in attempts if (models := of_kind(events, ModelLoaded))]
    if not loaded:
        raise SDSError(f"the record of run {run.id} does not say where it was computed", cure="repeat the run")
    useful = [each for each in loaded if any(map(_of_use, each[2]))] or loaded[-1:]
    found = [dataclasses.asdict(_of_attempt(start, model)) for start, model, _ in useful]
    return Environment(**{name: " then ".join(dict.fromkeys(each[name] for each in found)) for name in WORDS})


def _of_use(event: Event) -> bool:
    """Whether something of the result was computed where this was recorded."""
    match event:
        case BlockFinished(inherited_from=origin):
            return not origin
        case PerplexityMeasured(stage=stage, inherited_from=origin):
            return stage != "dense" and not origin  # which may have been known before
        case _:
            return isinstance(event, DistillationStep)


def _of_attempt(started: RunStarted, loaded: ModelLoaded) -> Environment:
    software = started.software
    return Environment(
        processor=_processor(software.machine, loaded.device),
        device=loaded.device,
        threads=str(started.threads),
        matmul=started.matmul,
        dtype=loaded.dtype,
        observation=loaded.observation,
        version=software.version,
        python=software.python,
        torch=software.torch,
        transformers=software.transformers,
    )


def differences(one: Environment, other: Environment) -> Iterator[str]:
    """Yield what differs between two environments, in words."""
    for name, words in WORDS.items():
        values = getattr(one, name), getattr(other, name)
        if values[0] != values[1]:
            yield f"{words} ({values[0]}; {values[1]})"


def _processor(machine: str, device: str) -> str:
    """Return the processor in the record's line on a machine: architecture, CPU, cores, GPUs, system."""
    before, _, after = machine.partition(" cores")
    gpus = after.removeprefix(", ").rpartition(", ")[0]
    return gpus if device != "cpu" and gpus else before.rpartition(", ")[0]
