"""Commands on finished runs: list, export, pack, import, report, evaluate."""

import argparse

from sds_core.errors import SDSError
from sds_core.files import new_file, user_path
from sds_core.options import printable
from sds_core.pruning.perplexity import format_perplexity
from sds_core.runs import note
from sds_core.runs.names import name_of
from sds_core.runs.run_folder import ids, open_run


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the parsers of this file's commands."""
    listing = commands.add_parser("list", help="list all runs, newest first")
    listing.set_defaults(do=list_runs)

    export = commands.add_parser("export", help="write a finished run as a model folder that transformers loads")
    export.add_argument("run")
    export.add_argument("folder")
    export.add_argument(
        "--push",
        metavar="NAME",
        help="also send it to the hub as NAME: a new repository is private, an existing one keeps its visibility; the "
        "token is read from HF_TOKEN",
    )
    export.set_defaults(do=_export)

    packing = commands.add_parser("pack", help="write a finished run's record, without weights, to one file")
    packing.add_argument("run")
    packing.add_argument("file")
    packing.set_defaults(do=_pack)

    unpacking = commands.add_parser("import", help="add a packed run to the runs here")
    unpacking.add_argument("file")
    unpacking.set_defaults(do=_import)

    reporting = commands.add_parser("report", help="write a finished run as one HTML file, with CSV and JSON beside it")
    reporting.add_argument("run")
    reporting.add_argument("file", metavar="FILE.html")
    reporting.set_defaults(do=_report)

    tasks = commands.add_parser("evaluate", help="measure task accuracy of finished runs and of their dense model")
    tasks.add_argument("runs", nargs="+", metavar="RUN", help="the base pruner's first: it is the reference")
    tasks.add_argument(
        "--tasks", nargs="+", metavar="TASK", help="LM Evaluation Harness tasks (default: the paper's seven)"
    )
    tasks.add_argument("--task-folder", metavar="DIR", help="your own task files; code in them is executed")
    tasks.add_argument("--limit", type=int, metavar="N", help="at most N questions per task")
    tasks.set_defaults(do=_evaluate)


def list_runs(options: argparse.Namespace) -> int:
    """Print a line for every run; for a broken one, why it is broken."""
    for name in ids():
        try:
            run = open_run(name)
            result, state = run.result(), run.state()
            written = printable(note.read(run).partition("\n")[0])
            called, model = name_of(run.config), printable(run.config.model.rpartition("/")[2])
        except SDSError as error:
            print(f"{name:<50} broken: {error}")
            continue
        perplexity = format_perplexity(result.last_perplexity.value) if result else ""
        value = f"perplexity {perplexity}" if result else ""
        routes = result.last_perplexity.routes if result else None
        said = " · ".join(filter(None, [f"{routes.changed:.1%} to other experts" if routes else "", written]))
        print(f"{name:<50} {called:<30} {state:<12} {value:<20} {model:<20} {said}".rstrip())
    return 0


def _export(options: argparse.Namespace) -> int:
    from sds_core.reports.export import export
    from sds_core.reports.push import Hub

    hub = Hub(options.push) if options.push else None
    folder = export(open_run(options.run), options.folder)
    print(printable(str(folder)))
    if hub:
        print(hub.push(folder))
    return 0


def _pack(options: argparse.Namespace) -> int:
    from sds_core.runs.archive import pack

    pack(open_run(options.run), new_file(options.file))
    return 0


def _import(options: argparse.Namespace) -> int:
    from sds_core.runs.archive import unpack

    print(unpack(user_path(options.file)).id)
    return 0


def _report(options: argparse.Namespace) -> int:
    from sds_core.reports.report import report

    for path in report(open_run(options.run), options.file):
        print(printable(str(path)))
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    from sds_core.extras.zero_shot import PAPER_TASKS, table, zero_shot

    runs = [open_run(run) for run in options.runs]
    scores = []
    for score in zero_shot(runs, options.tasks or list(PAPER_TASKS), options.task_folder, options.limit):
        print(f"{score.model}: {score.task} {score.accuracy:.2%}", flush=True)
        scores.append(score)
    print(table(scores))
    return 0
