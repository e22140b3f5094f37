"""The conformance suite on a plugin file, in a process of its own with a time limit.

Importing or running a plugin may never end, or may end its process; the app and the command line must survive both.
The process gets the file's content on standard input, so what is imported later is what was checked. It answers with
JSON objects, one per line.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import torch

from sds_core.errors import SDSError
from sds_core.pruning.conformance import CHECKS, CPU, Outcome
from sds_core.runs.plugin_file import load, outcomes
from sds_core.subprocess_environment import with_package

TIME_LIMIT = 60
"""Seconds that a plugin may take for its import and all checks together."""
GRACE = 20
"""Seconds on top, for starting the process and for a plugin that hangs outside of Python."""
TIMED_OUT = 124
"""Exit code of a process that has stopped itself at the time limit."""


@dataclass(frozen=True)
class SuiteResult:
    """The outcomes of the conformance suite on a plugin file."""

    cls: str
    """Name of the plugin's class."""
    line: int
    """Line of the class in the file."""
    outcomes: list[Outcome]


def accept(path: Path, data: bytes) -> None:
    """Check that a file with the given content holds a pruner that conforms.

    Raises:
        SDSError: `run_suite` raises it, or the pruner fails a check.
    """
    result = run_suite(path, data)
    if failures := [outcome for outcome in result.outcomes if outcome.actual]:
        more = f" ({len(failures) - 1} more checks fail)" if len(failures) > 1 else ""
        raise SDSError(
            f"{path.name}, line {result.line}: {result.cls} fails the check “{failures[0].check}”: "
            f"{failures[0].message.rstrip('.')}{more}",
            cure=f"see all checks: python -m sds_core check-pruner {path}",
        )


def run_suite(path: Path, data: bytes, device: torch.device = CPU) -> SuiteResult:
    """Run the conformance suite on a file with the given content.

    Raises:
        SDSError: `load` raises it, the time limit is exceeded, or the plugin ends its process.
    """
    try:
        process = subprocess.run(
            [sys.executable, "-m", __name__, str(path), str(device), str(TIME_LIMIT)],
            input=data,
            stdout=subprocess.PIPE,
            timeout=TIME_LIMIT + GRACE,
            start_new_session=True,  # Ctrl-C reaches only this process, which then kills the other
            env=with_package(),
            check=False,
        )
        return _result(path, process.stdout, process.returncode)
    except subprocess.TimeoutExpired as error:
        return _result(path, error.stdout or b"", TIMED_OUT)


def _result(path: Path, output: bytes, code: int) -> SuiteResult:
    """Return what the process has reported, if it has come to its end."""
    messages = [json.loads(line) for line in output.splitlines()]
    found: dict[str, Any] = {key: value for message in messages for key, value in message.items()}
    done = [Outcome(message["check"], message["actual"]) for message in messages if "check" in message]
    if "error" in found:
        raise SDSError(**found["error"])
    if "complete" in found:
        return SuiteResult(found["class"], found["line"], done)
    place = f"{path.name}, line {found['stopped_at']}" if "stopped_at" in found else path.name
    step = f"the check “{list(CHECKS)[len(done)]}”" if "class" in found else "the import"
    if code == TIMED_OUT:
        cure = f"look for an endless loop, then check again: python -m sds_core check-pruner {path}"
        raise SDSError(f"{place}: {step} did not end within {TIME_LIMIT} s", cure=cure)
    raise SDSError(f"{place}: {step} ended the process with exit code {code}")


def _run_here(path: Path, data: bytes, device: torch.device, limit: int, send: Callable[..., object]) -> None:
    """Run the suite in this process and send each outcome."""

    def stop(_: int, frame: FrameType | None) -> NoReturn:
        while frame and frame.f_code.co_filename != str(path):
            frame = frame.f_back
        if frame:
            send(stopped_at=frame.f_lineno)
        os._exit(TIMED_OUT)

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(limit)
    torch.set_num_threads(1)
    try:
        plugin = load(path, data)
    except SDSError as error:
        send(error=vars(error))
        return
    send(**{"class": plugin.cls.__name__, "line": plugin.line})
    for outcome in outcomes(plugin, device):
        send(check=outcome.check, actual=outcome.actual)
    send(complete=True)


def _main() -> None:
    path, device, limit = sys.argv[1:]
    answer = os.dup(1)
    os.dup2(2, 1)  # whatever the plugin prints goes to standard error and stays out of the answer
    send = lambda **message: os.write(answer, json.dumps(message).encode() + b"\n")
    _run_here(Path(path), sys.stdin.buffer.read(), torch.device(device), int(limit), send)


if __name__ == "__main__":
    _main()
