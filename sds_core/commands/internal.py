"""Commands that the product starts as separate processes, absent from the help: work, result."""

import argparse

from sds_core.runs import worker
from sds_core.runs.run_folder import open_run


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the parsers of this file's commands."""
    work = commands.add_parser("work")
    work.add_argument("runs", nargs="+")
    work.add_argument("--locks", required=True)
    work.add_argument("--plan", help="go on with the phases that an experiment still needs")
    work.set_defaults(do=_work)

    result = commands.add_parser("result")
    result.add_argument("job")
    result.add_argument("--lock", type=int, required=True)
    result.set_defaults(do=_result)


def _work(options: argparse.Namespace) -> int:
    from sds_core.runs.launch_phases import Plan

    runs = [open_run(run) for run in options.runs]
    locks = [int(descriptor) for descriptor in options.locks.split(",")]
    following = Plan.from_text(options.plan).next_runs if options.plan else list
    return int(worker.work(runs, locks, following) > 0)


def _result(options: argparse.Namespace) -> int:
    from sds_core.texts import job as text_job

    return text_job.work(options.job, options.lock)
