"""Start workers and print their progress until they end."""

import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from sds_core.errors import SDSError
from sds_core.pruning.perplexity import format_perplexity
from sds_core.pruning.stages import STAGE_NAMES
from sds_core.runs.events import (
    JobCancelled,
    JobFailed,
    JobFinished,
    PerplexityMeasured,
    of_kind,
)
from sds_core.runs.job_folder import LIVE
from sds_core.runs.new_run import deleted_on_error
from sds_core.runs.progress import progress
from sds_core.runs.run_command import command
from sds_core.runs.run_folder import Run
from sds_core.runs.worker import Worker, launch

if TYPE_CHECKING:
    from sds_core.texts.job import TextJob

WIDTH = 78
"""Lines are padded to this many characters, so that each covers what was printed before it."""
Starter = Callable[[list[Run]], Sequence[Worker]]
"""Starts the work on runs; returns one worker per run, which may be the same one."""


def launch_here(runs: list[Run]) -> list[Worker]:
    """Start one worker process for all runs."""
    return [launch(runs)] * len(runs)


def follow_new(runs: list[Run], start: Starter = launch_here) -> int:
    """Follow newly created runs; delete those that did not start, or that a user error stopped with nothing done.

    Raises:
        KeyboardInterrupt: as of `follow`.
        SDSError: they cannot be started.
    """
    try:
        return follow(runs, partial(_start_or_delete, start))
    finally:
        for run in runs:
            events = run.log.read()
            last = events[-1] if events else None
            if isinstance(last, JobFailed) and not last.internal and not run.begun():
                run.delete()


def _start_or_delete(start: Starter, runs: list[Run]) -> Sequence[Worker]:
    with deleted_on_error(runs):
        return start(runs)


def follow(runs: list[Run], start: Starter = launch_here) -> int:
    """Start the work on runs and print its progress; return 1 unless every run finished.

    Raises:
        KeyboardInterrupt: Ctrl-C or SIGTERM came; the runs were cancelled, and how to resume them was printed.
        SDSError: they cannot be started.
    """
    known = [len(run.log.read()) for run in runs]
    workers = start(runs)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        for run, worker, seen in zip(runs, workers, known, strict=True):
            _show(run, worker, seen)
    except KeyboardInterrupt:
        for run in runs:
            run.cancel()
        print("\ncancelling after the current block …", file=sys.stderr)
        with suppress(KeyboardInterrupt):  # a second Ctrl-C need not wait: the worker stops by itself
            _wait_cancelled(runs, workers)
        for run in runs:
            if run.state() != "finished":
                print(f"resume with: python -m sds_core resume {run.id}", file=sys.stderr)
        raise  # nothing that the command would do next is wanted any more
    finally:
        signal.signal(signal.SIGTERM, before)
    for worker in workers:
        worker.wait()
    return int(any(run.state() != "finished" for run in runs))


def _wait_cancelled(runs: list[Run], workers: Sequence[Worker]) -> None:
    """Wait until the workers of cancelled runs have ended, and ask again meanwhile.

    What was asked for while a worker started on another machine is gone: a start removes what earlier ones were asked.
    """
    while live := [run for run, worker in zip(runs, workers, strict=True) if worker.poll() is None]:
        for run in live:
            run.cancel()
        time.sleep(0.2)


def _show(run: Run, worker: Worker, shown: int) -> None:
    """Print a run's events, from the one after the first `shown`, until it ends."""
    try:
        config = run.config
    except SDSError as error:
        print(f"error: {error if run.folder.exists() else _died(run, 0)}", file=sys.stderr)
        return
    print(f"run {run.id}: {command(config)}")
    log, phases, began = run.log, config.phases, time.monotonic()
    while True:
        ended = worker.poll()
        events = log.read()
        if new := events[shown:]:
            for measured in of_kind(new, PerplexityMeasured):
                _print(f"perplexity {STAGE_NAMES[measured.stage]}: {format_perplexity(measured.perplexity.value)}")
            status = progress(events, phases)
            if status.message:
                print(f"error: {status.message}".ljust(WIDTH), file=sys.stderr)
            if isinstance(new[-1], JobFinished | JobFailed | JobCancelled):
                break
            _print(status.current.line() if status.current else status.activity, end="\r")
            shown = len(events)
        elif ended is not None:
            print(f"error: {_died(run, ended)}", file=sys.stderr)  # not raised: other runs may have other workers
            return
        time.sleep(0.2)
    if (result := run.result()) and result.experts:
        _print(result.experts)
    _print(f"{time.monotonic() - began:.0f} s")


def _died(run: Run, code: int) -> SDSError:
    """Return why a worker ended without logging it."""
    if not run.folder.exists():
        return SDSError(f"the folder of run {run.id} is gone", cure="it was moved or deleted while the run went on")
    resume = f"resume with: python -m sds_core resume {run.id}"
    if code == -signal.SIGKILL:
        return SDSError(
            f"the worker of run {run.id} was killed, probably because memory ran out",
            cure=f"close other programs, or take fewer windows or --weights disk; {resume}",
        )
    cause = f"was ended by signal {-code}" if code < 0 else f"died with exit code {code}"
    return SDSError(f"the worker of run {run.id} {cause}", cure=f"see {run.folder.parent}/*/stderr.txt; {resume}")


def _print(line: str, end: str = "\n") -> None:
    """Print a line, over one that ended in a carriage return."""
    print(f"  {line}".ljust(WIDTH), end=end, flush=True)


def follow_text(job: "TextJob") -> None:
    """Print the progress of a text query, on standard error, until no process works on it."""
    log, shown = job.log, ""
    while job.state() in LIVE:
        if (line := progress(log.read()).activity) != shown:
            print(f"  {line}", file=sys.stderr)
            shown = line
        time.sleep(0.1)
