"""The worker process, which executes runs: started by command line, app and tests alike, one at a time per device."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, Protocol

from sds_core.errors import Cancelled, SDSError, is_fault_of_file
from sds_core.runs import lock
from sds_core.runs.device_queue import device_to_itself
from sds_core.runs.event_log import LogWriter
from sds_core.runs.events import Event, JobCancelled, JobFailed, JobFinished, JobQueued
from sds_core.runs.job_folder import CANCEL, JobFolder
from sds_core.runs.process import start_process
from sds_core.runs.run_folder import Run

if TYPE_CHECKING:
    from sds_core.runs.model_cache import ModelCache


class Worker(Protocol):
    """A process that executes runs, on this machine or another."""

    def poll(self) -> int | None:
        """The exit code, or None while it works."""
        ...

    def wait(self) -> int:
        """The exit code, once it has ended."""
        ...


def launch(
    runs: list[Run], arguments: Sequence[str] = (), held: int | None = None, stay: bool = False
) -> subprocess.Popen:
    """Start a worker that executes these runs in order, sharing the model.

    Each run's lock is taken here and inherited by the worker, so that it is held without a gap.

    Args:
        runs: at least one.
        arguments: further arguments of the worker's command.
        held: another lock's descriptor, which the worker holds until it is done.
        stay: whether its process may be one that has stayed, and stays (`start_process`).

    Raises:
        SDSError: another process works on one of them, one is finished, or its pruner is not available.
    """
    from sds_core.runs.plugins import load_registry

    registry = load_registry(run.config.pruner for run in runs)
    for run in runs:
        registry.require(run.config.pruner, run.config.pruner_sha256)
    descriptors: list[int] = []
    try:
        for run in runs:
            descriptors.append(run.take_lock())
            if run.result_path.exists() and not run.config.keep_weights:
                run.drop_weights()  # its worker may have been killed before it did
            run.refuse_finished()
            (run.folder / CANCEL).unlink(missing_ok=True)
        command = ["work", *(run.id for run in runs), *arguments]
        inherited = descriptors if held is None else [*descriptors, held]
        return start_process(command, inherited, runs[0].errors, runs[0].folder.parent, stay)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def work(runs: list[Run], locks: list[int], following: Callable[[], list[Run]] = list) -> int:
    """Execute runs in order; return the number that did not finish.

    Args:
        runs: the runs.
        locks: the inherited descriptors of their locks; each is closed as its run ends, so that a finished run can be
            opened, and a failed one resumed, while the others continue.
        following: returns the next runs once all of these are finished; empty at the end.
    """
    from sds_core.runs.model_cache import ModelCache

    launched = lock.owner(runs[0].lock_path)
    queued_at = launched.since if launched else time.time()
    for descriptor in locks:
        os.set_inheritable(descriptor, False)
        lock.note_owner(descriptor)
    _queue(runs)
    with ExitStack() as held:
        try:
            cancelled = lambda: all(run.cancel_requested for run in runs)
            waiting = device_to_itself(runs[0].config.device, runs[0].id, queued_at, runs[0].writer(), cancelled)
            now = held.enter_context(waiting)
        except SDSError as error:  # there is no such device, or the cache cannot be written
            for run, descriptor in zip(runs, locks, strict=True):
                _note(run.writer(), JobFailed(message=str(error)))
                os.close(descriptor)
            return len(runs)
        passes = sum(len(run.config.phases) for run in runs)
        cache = ModelCache(keep_dense=passes > 1 or following is not list)
        failed = _execute(runs, locks, cache, now)
        while not failed and (more := following()):
            locks = [run.take_lock() for run in more]
            _queue(more)
            failed = _execute(more, locks, cache, now)
        return failed


def _queue(runs: list[Run]) -> None:
    """Log for every run but the first which one it waits for."""
    for run, before in zip(runs[1:], runs, strict=False):
        run.writer().append(JobQueued(behind=before.id))


def _execute(runs: list[Run], locks: list[int], cache: ModelCache, now: Callable[[str], None]) -> int:
    """Execute runs that are locked; return the number that did not finish."""
    failed = 0
    for run, descriptor in zip(runs, locks, strict=True):
        try:
            now(run.id)
            failed += not attempt(run, partial(_execute_run, run, cache))
        finally:
            os.close(descriptor)
    return failed


def _execute_run(run: Run, cache: ModelCache, log: LogWriter) -> None:
    for event in until_cancelled(run, cache):
        log.append(event)


def until_cancelled(run: Run, cache: ModelCache) -> Iterator[Event]:
    """Carry out a run, until the user cancels it; yield its events.

    Raises:
        SDSError: as for `run_job`.
        Cancelled: the user has asked to stop.
    """
    from sds_core.runs.run_job import run_job

    cure = f"continue with: python -m sds_core resume {run.id}"
    refuse_cancelled(run, "cancelled; finished blocks are kept", cure)
    for event in run_job(run, cache):
        yield event
        if not isinstance(event, JobFinished):
            refuse_cancelled(run, "cancelled; finished blocks are kept", cure)


def attempt(job: JobFolder, do: Callable[[LogWriter], None]) -> bool:
    """Run a job; return whether it finished. What stopped it becomes the last event of its log.

    An internal error leaves its traceback in the folder and ends the process.
    """
    from sds_core.models.free_memory import out_of_memory

    log = job.writer()
    try:
        do(log)
        return True
    except Cancelled as error:
        _note(log, JobCancelled(message=str(error)))
    except SDSError as error:
        _note(log, JobFailed(message=str(error)))
    except BaseException as error:
        if not is_fault_of_file(error):  # but a panic of a library written in Rust, which is no Exception
            raise
        if full := out_of_memory(error):
            _note(log, JobFailed(message=str(full)))
            return False
        with suppress(OSError), open(job.errors, "a", encoding="utf-8") as file:
            traceback.print_exc(file=file)
        message = f"internal error, please report it: {type(error).__name__}: {error} (see {job.errors})"
        _note(log, JobFailed(message=message, internal=True))
        raise SystemExit(1) from error
    return False


def _note(log: LogWriter, event: JobCancelled | JobFailed) -> None:
    """Log why the job stopped; if that fails too (folder gone, disk full), print both errors."""
    try:
        log.append(event)
    except SDSError as error:
        sys.stderr.write("".join(f"{message}\n" for message in dict.fromkeys([event.message, str(error)])))


def refuse_cancelled(job: JobFolder, message: str, cure: str) -> None:
    """Stop the job if the user asked for that.

    Raises:
        Cancelled: with this message and cure.
    """
    if job.cancel_requested:
        raise Cancelled(message, cure=cure)
