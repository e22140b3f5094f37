"""Commands that the product starts as separate processes, absent from the help: work, result."""

import argparse
import os
from collections.abc import Callable
from functools import partial

from sds_core.runs import process, worker
from sds_core.runs.run_folder import open_run


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the parsers of this file's commands."""
    work = commands.add_parser("work")
    work.add_argument("runs", nargs="+")
    work.add_argument("--plan", help="go on with the phases that an experiment still needs")
    result = commands.add_parser("result")
    result.add_argument("job")
    for command, do in ((work, _work), (result, _result)):
        command.add_argument("--locks", required=True, type=lambda text: [int(lock) for lock in text.split(",")])
        command.add_argument("--stay", type=int, help="a socket on which further commands of this file come")
        command.set_defaults(do=partial(_do, do))


def _do(job: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    """Do a job and, if it was asked for, those that come afterwards."""
    code = job(options)
    if options.stay is not None:
        process.stay(options.stay, _do_another)
    return code


def _do_another(words: list[str]) -> None:
    parser = argparse.ArgumentParser()
    add_commands(parser.add_subparsers())
    options = parser.parse_args(words)
    options.do(options)


def _work(options: argparse.Namespace) -> int:
    from sds_core.runs.launch_phases import Plan

    runs = [open_run(run) for run in options.runs]
    own, others = options.locks[: len(runs)], options.locks[len(runs) :]
    following = Plan.from_text(options.plan).next_runs if options.plan else list
    try:
        return int(worker.work(runs, own, following) > 0)
    finally:
        for lock in others:
            os.close(lock)


def _result(options: argparse.Namespace) -> int:
    from sds_core.texts import job as text_job

    (lock,) = options.locks
    return text_job.work(options.job, lock)
