"""Start workers and print their progress until they end."""

import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from sds_core.errors import SDSError
from sds_core.figures.style import STAGE_NAMES
from sds_core.pruning.perplexity import format_perplexity
from sds_core.runs.files import Tail
from sds_core.runs.run_folder import Run
from sds_core.runs.worker import Worker, launch

if TYPE_CHECKING:
    from sds_core.runs.text_job import TextJob

Starter = Callable[[list[Run]], Sequence[Worker]]
"""Starts the work on runs; returns one worker per run, which may be the same one."""


def launch_here(runs: list[Run]) -> list[Worker]:
    """Start one process for all of them."""
    return [launch(runs)] * len(runs)


def follow_new(runs: list[Run], start: Starter = launch_here) -> int:
    """Follow newly created runs; delete one that failed before its first block through a fault of the user's."""
    code = follow(runs, start)
    for run in runs:
        events = run.log.read()
        worked = any(event["kind"] == "block" and "inherited" not in event for event in events)
        if run.state(events) == "failed" and not worked and "internal" not in events[-1]:
            run.delete()
    return code


def follow(runs: list[Run], start: Starter = launch_here) -> int:
    """Start the work on runs and print its progress; Ctrl-C cancels. Returns 1 unless every run finished."""
    known = [len(run.log.read()) for run in runs]
    workers = start(runs)
    try:
        for run, worker, seen in zip(runs, workers, known, strict=True):
            _show(run, worker, seen)
    except KeyboardInterrupt:
        for run in runs:
            run.cancel()
        print("\ncancelling after the current block …", file=sys.stderr)
        for worker in workers:
            worker.wait()
        for run in runs:
            if run.state() != "finished":
                print(f"resume with: python -m sds_core resume {run.id}", file=sys.stderr)
    for worker in workers:
        worker.wait()
    return int(any(run.state() != "finished" for run in runs))


def _show(run: Run, worker: Worker, shown: int) -> None:
    """Print a run's events, from the one after the first `shown`, until it ends."""
    print(f"run {run.id}: {run.config.command()}")
    tail = Tail(run.folder / "events.jsonl")
    began = time.monotonic()
    while True:
        ended = worker.poll()
        new = tail.read()[shown:]
        for event in new:
            if event["kind"] != "queued" or event is new[-1]:
                _show_event(event)
        shown += len(new)
        if new and new[-1]["kind"] in ("finished", "failed", "cancelled"):
            break
        if ended is not None:
            died = SDSError(
                f"the worker of run {run.id} died with exit code {ended}",
                cure=f"see {run.folder.parent}/*/stderr.txt; resume with: python -m sds_core resume {run.id}",
            )
            print(f"error: {died}", file=sys.stderr)  # not raised: the other runs may have workers of their own
            return
        time.sleep(0.2)
    print(f"  {time.monotonic() - began:.0f} s")


def _show_event(event: dict[str, Any]) -> None:
    width = 78
    match event["kind"]:
        case "queued":
            line, end = f"  waiting for {event['behind']}", "\n"
        case "measuring":
            what = STAGE_NAMES.get(event["stage"], event["stage"])
            line, end = f"  measuring {what}: block {event['block'] + 1} of {event['of']}", "\r"
        case "block":
            left = (event["of"] - event["block"] - 1) * event["seconds"]
            line = f"  phase {event['phase']}: block {event['block'] + 1} of {event['of']}, about {left:.0f} s left"
            end = "\n" if event["block"] + 1 == event["of"] else "\r"
        case "perplexity":
            value = format_perplexity(event["value"])
            line, end = f"  perplexity {STAGE_NAMES[event['stage']]}: {value}", "\n"
        case "failed" | "cancelled":
            print(f"error: {event['message']}".ljust(width), file=sys.stderr)
            return
        case _:
            return
    print(line.ljust(width), end=end, flush=True)


def follow_text(job: "TextJob") -> None:
    """Print the progress of a text query, on standard error, until no process works on it."""
    shown: dict[str, Any] = {}
    while job.state() in ("queued", "running"):
        if (events := job.log.read()) and events[-1] != shown:
            shown = events[-1]
            match shown["kind"]:
                case "queued":
                    print(f"  waiting for {shown['behind']}", file=sys.stderr)
                case "reading":
                    print(f"  {shown['name']}, model {shown['model'] + 1} of {shown['of']}", file=sys.stderr)
        time.sleep(0.1)
