"""Where a run was computed, and how that differs from where another one was."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

from sds_core.runs.run_folder import Run


@dataclass(frozen=True, kw_only=True)
class Environment:
    """What may change a run's rounding; empty where the record does not say."""

    processor: str
    """The CPU, or the GPUs where one was used."""
    device: str
    threads: str
    matmul: str
    """Permitted precision of float32 matrix products."""
    dtype: str
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
    "version": "another version of SDS Studio",
    "python": "another version of Python",
    "torch": "another version of torch",
    "transformers": "another version of transformers",
}


def environment(run: Run) -> Environment:
    """Return where a run was computed, from its record.

    Raises:
        SDSError: the record is broken.
    """
    recorded: dict[str, Any] = {}
    for event in run.log.read():
        if event["kind"] in ("start", "model"):
            recorded = event | recorded  # the first of each kind counts: what was resumed is part of the same run
    known = {field.name: str(recorded.get(field.name, "")) for field in fields(Environment)}
    return Environment(**known | {"processor": _processor(str(recorded.get("machine", "")), known["device"])})


def differences(one: Environment, other: Environment) -> Iterator[str]:
    """Yield what differs between two environments, in words."""
    for name, words in WORDS.items():
        values = getattr(one, name), getattr(other, name)
        if values[0] != values[1]:
            yield f"{words} ({values[0] or 'unknown'}; {values[1] or 'unknown'})"


def _processor(machine: str, device: str) -> str:
    """Return the processor in the record's line on a machine: architecture, CPU, cores, GPUs, system."""
    before, _, after = machine.partition(" cores")
    gpus = after.removeprefix(", ").rpartition(", ")[0]
    return gpus if device.startswith("cuda") and gpus else before.rpartition(", ")[0]
