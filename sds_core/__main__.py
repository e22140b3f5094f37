"""The command line: python -m sds_core COMMAND; `--help` lists the commands."""

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from sds_core import flags
from sds_core.errors import SDSError
from sds_core.runs import note, plugins
from sds_core.runs.compare import side_by_side, table
from sds_core.runs.config import RunConfig, describe
from sds_core.runs.files import Tail, write_json
from sds_core.runs.lineup import COMPARED, DEMO, lineup
from sds_core.runs.run_folder import Run, create, ids, open_run
from sds_core.runs.worker import Worker, launch, work

INSPECTED = (
    "model",
    "checkpoint",
    "pruner",
    "method",
    "pattern",
    "allocation",
    "schedule",
    "phase",
    "weights",
    "keep_weights",
)
"""Options of a run that are settled for one that only looks."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0, 1 for an error the user can mend (one sentence on standard error), 2 for wrong usage."""
    options = _parser().parse_args(arguments)
    try:
        if getattr(options, "pruners", None) is not None:
            plugins.use(options.pruners)
        return options.do(options)
    except BrokenPipeError:  # whoever read the output, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except SDSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sds_core", description="See what pruning does to a language model."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="prune a model, as a run of its own")
    flags.add_options(run)
    run.add_argument("--from", dest="origin", metavar="RUN", help="the run whose phase this one goes on from")
    run.set_defaults(do=_run)

    resume = commands.add_parser("resume", help="go on with a run that was cancelled, interrupted or failed")
    resume.add_argument("run")
    resume.set_defaults(do=_resume)

    looking = commands.add_parser("inspect", help="a model that was pruned elsewhere beside its dense model, as a run")
    flags.add_options(looking, without=INSPECTED)
    looking.add_argument("checkpoint", metavar="FOLDER", help="the pruned model: a folder or what else --model takes")
    looking.add_argument("--dense", required=True, metavar="MODEL", help="the model before it was pruned")
    looking.set_defaults(do=_inspect, methods=["checkpoint"])

    compare = commands.add_parser("compare", help="several methods on one model, text and pattern")
    flags.add_options(compare, without=("pruner", "method", "phase", "checkpoint"))
    compare.add_argument(
        "--methods",
        nargs="+",
        metavar="METHOD:PRUNER",
        default=list(COMPARED),
        help=f"what to compare, such as {' '.join(COMPARED)} (the default)",
    )
    compare.set_defaults(do=_compare)

    sweep = commands.add_parser("sweep", help="a grid of models, patterns, seeds and methods, one run each")
    flags.add_options(sweep, without=("pruner", "method", "phase", "checkpoint", "model", "pattern", "seed"))
    sweep.add_argument("--models", nargs="+", default=["demo"], help="(default: demo)")
    sweep.add_argument("--patterns", nargs="+", required=True, metavar="PATTERN", help="such as 30%% 50%% 70%%")
    sweep.add_argument("--seeds", nargs="+", type=int, default=[0], help="(default: 0)")
    sweep.add_argument("--methods", nargs="+", metavar="METHOD:PRUNER", default=list(COMPARED), help="as for compare")
    elsewhere = sweep.add_mutually_exclusive_group()
    elsewhere.add_argument("--slurm", metavar="FILE", help="write an array of jobs for sbatch instead of starting")
    elsewhere.add_argument(
        "--ray", metavar="ADDRESS", help="hand the runs to a Ray cluster: auto, HOST:PORT, or local for one of our own"
    )
    sweep.set_defaults(do=_sweep)

    demo = commands.add_parser("demo", help="compare Wanda, SparseGPT, sds and sds-admm on the demo model in minutes")
    demo.set_defaults(do=_demo)

    listing = commands.add_parser("list", help="all runs, newest first")
    listing.set_defaults(do=_list)

    export = commands.add_parser("export", help="a finished run as a model folder that transformers loads")
    export.add_argument("run")
    export.add_argument("folder")
    export.set_defaults(do=_export)

    packing = commands.add_parser("pack", help="a finished run's record, without weights, as one file")
    packing.add_argument("run")
    packing.add_argument("file")
    packing.set_defaults(do=_pack)

    unpacking = commands.add_parser("import", help="a packed run, to be looked at here")
    unpacking.add_argument("file")
    unpacking.set_defaults(do=_import)
    report = commands.add_parser("report", help="a finished run as one HTML file, with CSV and JSON beside it")
    report.add_argument("run")
    report.add_argument("file", metavar="FILE.html")
    report.set_defaults(do=_report)

    tasks = commands.add_parser("evaluate", help="accuracy of finished runs, and of their dense model, on tasks")
    tasks.add_argument("runs", nargs="+", metavar="RUN", help="the base pruner's first, to be compared to it")
    tasks.add_argument(
        "--tasks", nargs="+", metavar="TASK", help="names of LM Evaluation Harness tasks (default: the paper's seven)"
    )
    tasks.add_argument("--task-folder", metavar="DIR", help="task files of your own; code in them is run")
    tasks.add_argument("--limit", type=int, metavar="N", help="at most N questions a task")
    tasks.set_defaults(do=_evaluate)

    reading = commands.add_parser("text", help="a text through finished runs: what each expects, how each goes on")
    reading.add_argument(
        "runs", nargs="+", metavar="RUN", help="of one model, weights kept; the dense model comes first"
    )
    reading.add_argument("--prompt", required=True, help="the text; each model goes on with it, without chat template")
    reading.add_argument("--tokens", type=int, default=40, help="at most so many follow (default: %(default)s)")
    reading.add_argument("--out", metavar="FILE.json", help="write the result there too")
    reading.set_defaults(do=_text)

    text = commands.add_parser("write-text", help="let a model write its own calibration text")
    text.add_argument("--model", default="demo", help=describe(RunConfig)["model"])
    text.add_argument("--windows", type=int, default=192, help="how many windows (default: %(default)s)")
    text.add_argument("--length", type=int, default=1024, help="tokens in each (default: %(default)s)")
    text.add_argument("--seed", type=int, default=0, help="chooses the text (default: %(default)s)")
    text.add_argument("--out", help="where to put it (default: where the text source `self` looks)")
    text.set_defaults(do=_write_text)

    layer = commands.add_parser("write-lab-layer", help="make the layer that the app's Layer lab works on anew")
    layer.add_argument("--out", help="where to put it (default: where the Layer lab looks)")
    layer.set_defaults(do=_write_lab_layer)

    for command in (run, resume, compare, sweep):
        command.add_argument("--pruners", metavar="FOLDER", help="where pruners of your own lie, a file each")
    checking = commands.add_parser("check-pruner", help="put a file with a pruner of your own through every check")
    checking.add_argument("file")
    checking.set_defaults(do=_check_pruner)

    worker = commands.add_parser("work")  # what run, resume, compare and the app start
    worker.add_argument("runs", nargs="+")
    worker.add_argument("--locks", required=True)
    worker.set_defaults(do=_work)

    answering = commands.add_parser("result")  # what text and the app start
    answering.add_argument("job")
    answering.add_argument("--lock", type=int, required=True)
    answering.set_defaults(do=_answer)
    return parser


def _run(options: argparse.Namespace) -> int:
    if options.origin is None:
        values = flags.chosen(options)
        if values.get("phase"):
            values["schedule"] = "staged"
        return _follow_new([create(RunConfig.from_dict(values))])
    phase = getattr(options, "phase", 0)
    if phase < 2:
        raise SDSError("--from goes with --phase 2 or 3", got=f"--phase {phase}")
    parent = open_run(options.origin)
    return _follow_new([create(parent.config.branch(flags.chosen(options), parent.as_parent(phase)))])


def _inspect(options: argparse.Namespace) -> int:
    from sds_core.runs.external import external_config

    values = {name: value for name, value in flags.chosen(options).items() if name not in INSPECTED}
    run = create(external_config(options.checkpoint, options.dense, values))
    code = _follow_new([run])
    if run.folder.exists() and (result := run.result()):
        told = f"{result['pruned']:,} of {result['prunable']:,} prunable weights are zero ({result['sparsity']:.4%})"
        besides = f"; {len(result['besides'])} other tensors differ from the dense model's" if result["besides"] else ""
        print(f"pattern {run.config.pattern}: {told}{besides}")
    return code


def _resume(options: argparse.Namespace) -> int:
    return _follow([open_run(options.run)])


def _compare(options: argparse.Namespace) -> int:
    return _follow_together(lineup(flags.chosen(options), options.methods))


def _sweep(options: argparse.Namespace) -> int:
    from sds_core.runs.sweep import grid, slurm_array

    configs = grid(flags.chosen(options), options.models, options.patterns, options.seeds, options.methods)
    if options.ray:
        return _on_ray(configs, options.ray)
    if options.slurm:
        runs = [create(config) for config in configs]
        slurm_array(runs, Path(options.slurm).expanduser())
        print(f"{len(runs)} runs are made; start them with: sbatch {options.slurm}")
        return 0
    by_model = [[c for c in configs if c.model == model] for model in options.models]
    return max(_follow_together(group) for group in by_model)


def _on_ray(configs: list[RunConfig], address: str) -> int:
    """Hand runs to a cluster, follow them, and show those of one model beside each other at the end."""
    from sds_core.extras.ray_cluster import connected, hand_over

    ray = connected(address)
    runs = [create(config) for config in configs]
    code = _follow_new(runs, partial(hand_over, ray))
    left = [run for run in runs if run.folder.exists()]
    for model in dict.fromkeys(config.model for config in configs):
        _show_together([run for run in left if run.config.model == model])
    return code


def _demo(options: argparse.Namespace) -> int:
    return _follow_together(lineup(DEMO))


def _follow_together(configs: list[RunConfig]) -> int:
    """Make runs and show them beside each other at the end."""
    runs = [create(config) for config in configs]
    code = _follow_new(runs)
    _show_together([run for run in runs if run.folder.exists()])
    return code


def _show_together(runs: list[Run]) -> None:
    if rows := side_by_side(runs):
        print(table(rows))


def _launch_here(runs: list[Run]) -> list[Worker]:
    """One process for all of them."""
    return [launch(runs)] * len(runs)


def _follow_new(runs: list[Run], start: Callable[[list[Run]], Sequence[Worker]] = _launch_here) -> int:
    """Follow runs that were just made; one that failed before its first block, by the user's doing, is removed."""
    code = _follow(runs, start)
    for run in runs:
        events = run.log.read()
        worked = any(event["kind"] == "block" and "inherited" not in event for event in events)
        if run.state(events) == "failed" and not worked and "internal" not in events[-1]:
            run.delete()
    return code


def _follow(runs: list[Run], start: Callable[[list[Run]], Sequence[Worker]] = _launch_here) -> int:
    """Start workers, one a run or one for all, and show one progress line until they end; Ctrl-C cancels."""
    known = [len(run.log.read()) for run in runs]
    workers = start(runs)
    try:
        for run, worker, seen in zip(runs, workers, known, strict=True):
            _show(run, worker, seen)
    except KeyboardInterrupt:
        for run in runs:
            run.cancel()
        print("\ncancelling after the present block …", file=sys.stderr)
        for worker in workers:
            worker.wait()
        for run in runs:
            if run.state() != "finished":
                print(f"go on with: python -m sds_core resume {run.id}", file=sys.stderr)
    for worker in workers:
        worker.wait()
    return int(any(run.state() != "finished" for run in runs))


def _show(run: Run, worker: Worker, shown: int) -> None:
    """Follow one run to its end, from the event after the first `shown` ones."""
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
                cure=f"see {run.folder.parent}/*/stderr.txt; go on with: python -m sds_core resume {run.id}",
            )
            print(f"error: {died}", file=sys.stderr)  # other runs may live on elsewhere, and are followed
            return
        time.sleep(0.2)
    print(f"  {time.monotonic() - began:.0f} s")


def _show_event(event: dict[str, Any]) -> None:
    width = 78
    match event["kind"]:
        case "queued":
            line, end = f"  waiting behind {event['behind']}", "\n"
        case "measuring":
            line, end = f"  measuring {event['stage']}: block {event['block'] + 1} of {event['of']}", "\r"
        case "block":
            left = (event["of"] - event["block"] - 1) * event["seconds"]
            line = f"  phase {event['phase']}: block {event['block'] + 1} of {event['of']}, about {left:.0f} s left"
            end = "\n" if event["block"] + 1 == event["of"] else "\r"
        case "perplexity":
            line, end = f"  perplexity {event['stage']}: {event['value']:.2f}", "\n"
        case "failed" | "cancelled":
            print(f"error: {event['message']}".ljust(width), file=sys.stderr)
            return
        case _:
            return
    print(line.ljust(width), end=end, flush=True)


def _list(options: argparse.Namespace) -> int:
    for run in map(open_run, ids()):
        try:
            result, state, written = run.result(), run.state(), note.read(run).partition("\n")[0]
        except SDSError as error:
            print(f"{run.id:<50} broken: {error}")
            continue
        value = f"perplexity {result['perplexity'][result['last']]['value']:.2f}" if result else ""
        print(f"{run.id:<50} {state:<12} {value:<20} {written}".rstrip())
    return 0


def _export(options: argparse.Namespace) -> int:
    from sds_core.runs.export import export

    print(export(open_run(options.run), options.folder))
    return 0


def _pack(options: argparse.Namespace) -> int:
    from sds_core.runs.archive import pack

    target = Path(options.file).expanduser()
    if target.exists():
        raise SDSError("the file to write exists already", got=options.file)
    pack(open_run(options.run), target)
    return 0


def _import(options: argparse.Namespace) -> int:
    from sds_core.runs.archive import unpack

    print(unpack(Path(options.file).expanduser()).id)
    return 0


def _report(options: argparse.Namespace) -> int:
    from sds_core.reports.report import report

    for path in report(open_run(options.run), options.file):
        print(path)
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


def _text(options: argparse.Namespace) -> int:
    from sds_core.runs.text_job import TextJob
    from sds_core.runs.text_query import TextQuery, table

    query = TextQuery(runs=tuple(options.runs), prompt=options.prompt, tokens=options.tokens)
    job = TextJob.of(query)
    try:
        job.launch(query)
        _show_inquiry(job)
    except KeyboardInterrupt:
        job.cancel()
        raise
    result = job.result()
    if result is None:
        last = job.log.read()[-1]
        raise SDSError(last.get("message") or f"the process died; see {job.errors}")
    if options.out:
        write_json(Path(options.out).expanduser(), asdict(result))
    print(table(result))
    return 0


def _show_inquiry(job: Any) -> None:
    """Follow a query until nobody works on it any more."""
    shown: dict[str, Any] = {}
    while job.state() in ("queued", "running"):
        if (events := job.log.read()) and events[-1] != shown:
            shown = events[-1]
            match shown["kind"]:
                case "queued":
                    print(f"  waiting behind {shown['behind']}", file=sys.stderr)
                case "reading":
                    print(f"  {shown['name']}, model {shown['model'] + 1} of {shown['of']}", file=sys.stderr)
        time.sleep(0.1)


def _answer(options: argparse.Namespace) -> int:
    from sds_core.runs.text_job import work

    return work(options.job, options.lock)


def _write_text(options: argparse.Namespace) -> int:
    from sds_core.models.generate import write_self_text

    for line in write_self_text(options.model, options.windows, options.length, options.seed, options.out):
        print(line, flush=True)
    return 0


def _write_lab_layer(options: argparse.Namespace) -> int:
    from sds_core.lesson.lab import ASSET, LINEAR, write_lab_layer

    for line in write_lab_layer("demo", LINEAR, "self", Path(options.out or ASSET)):
        print(line, flush=True)
    return 0


def _check_pruner(options: argparse.Namespace) -> int:
    from sds_core.models.device import pick_device
    from sds_core.pruning.conformance import CHECKS, CPU
    from sds_core.runs.plugin_file import outcomes, read

    own = read(Path(options.file).expanduser().resolve())
    print(f"{own.path.name}: {own.cls.__name__}, SHA-256 {own.sha256}")
    code = 0
    for device in dict.fromkeys([CPU, pick_device()]):
        found = {outcome.check: outcome for outcome in outcomes(own, device)}
        for name in CHECKS:
            word = "skip" if name not in found else "FAIL" if found[name].came else "ok"
            print(f"{device.type:<6}{word:<6}{name:<18}{found[name].told if word == 'FAIL' else CHECKS[name].claim}")
            code |= word == "FAIL"
    return int(code)


def _work(options: argparse.Namespace) -> int:
    runs = [open_run(run) for run in options.runs]
    return int(work(runs, [int(descriptor) for descriptor in options.locks.split(",")]) > 0)


if __name__ == "__main__":
    sys.exit(main())
