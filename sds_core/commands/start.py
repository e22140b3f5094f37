"""Commands that start runs: run, resume, inspect, compare, sweep, demo."""

import argparse
from functools import partial

from sds_core.commands import flags
from sds_core.commands.follow import follow, follow_new
from sds_core.comparison.compare import side_by_side, table
from sds_core.comparison.outcomes import finished_outcomes
from sds_core.comparison.published import beside_published
from sds_core.comparison.ranking import answer, rank
from sds_core.errors import SDSError
from sds_core.extras.slurm import slurm_array
from sds_core.files import user_path
from sds_core.models.gguf_files import DEMO
from sds_core.pruning.methods import make_method
from sds_core.pruning.reconstruction import MODEL, then_distilled
from sds_core.pruning.titles import CHECKPOINT
from sds_core.runs.branch import as_parent, branch
from sds_core.runs.config import RunConfig
from sds_core.runs.experiment import WORKING, config_in
from sds_core.runs.launch_phases import reconfigure
from sds_core.runs.new_run import create, create_all, deleted_on_error
from sds_core.runs.phases import RECONSTRUCTED, phase_numbers_of
from sds_core.runs.plugins import load_registry
from sds_core.runs.run_folder import Run, open_run
from sds_core.runs.sweep import COMPARED, DEMO_SETTINGS, grid, method_configs

RESUMED = tuple(name for name in WORKING if name != "threads")
"""The options that a run may be resumed with; with other threads, it would not be the same to the last bit."""
FIXED_BY_INSPECT = (
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
    *RECONSTRUCTED,
)
"""Options of a run that `inspect` settles itself."""
FIXED_BY_COMPARE = ("pruner", "method", "phase", "checkpoint")


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the parsers of this file's commands."""
    run = commands.add_parser("run", help="prune a model")
    flags.add_options(run)
    run.add_argument("--from", dest="origin", metavar="RUN", help="the run whose phase this one continues from")
    run.set_defaults(do=_run)

    resume = commands.add_parser("resume", help="resume a run that was cancelled, interrupted or failed")
    resume.add_argument("run")
    flags.add_changes(resume, RESUMED)
    resume.set_defaults(do=_resume)

    inspect = commands.add_parser("inspect", help="compare a checkpoint pruned elsewhere with its dense model")
    flags.add_options(inspect, without=FIXED_BY_INSPECT)
    inspect.add_argument("checkpoint", metavar="FOLDER", help="the pruned model: a folder or anything --model takes")
    inspect.add_argument("--dense", required=True, metavar="MODEL", help="the model before pruning")
    inspect.set_defaults(do=_inspect, methods=[CHECKPOINT])

    compare = commands.add_parser("compare", help="run several methods on one model, text and pattern")
    flags.add_options(compare, without=FIXED_BY_COMPARE)
    _add_methods(compare)
    compare.set_defaults(do=_compare)

    sweep = commands.add_parser("sweep", help="run a grid of models, patterns, seeds and methods")
    _add_grid(sweep)
    sweep.set_defaults(do=_sweep)

    demo = commands.add_parser("demo", help="compare Wanda, SparseGPT, sds and sds-admm on the demo model in minutes")
    demo.set_defaults(do=_demo)

    for command in (run, resume, compare, sweep):
        command.add_argument("--pruners", metavar="FOLDER", help="a folder of pruner plugins, one file each")


def _add_methods(command: argparse.ArgumentParser) -> None:
    example = " ".join(COMPARED)
    command.add_argument(
        "--methods", nargs="+", metavar="METHOD:PRUNER", default=list(COMPARED), help=f"(default: {example})"
    )


def _add_grid(sweep: argparse.ArgumentParser) -> None:
    flags.add_options(sweep, without=(*FIXED_BY_COMPARE, "model", "pattern", "seed"))
    sweep.add_argument("--models", nargs="+", default=[DEMO], help="(default: demo)")
    sweep.add_argument("--patterns", nargs="+", required=True, metavar="PATTERN", help="for example 30%% 50%% 70%%")
    sweep.add_argument("--seeds", nargs="+", type=int, default=[0], help="(default: 0)")
    _add_methods(sweep)
    elsewhere = sweep.add_mutually_exclusive_group()
    elsewhere.add_argument("--slurm", metavar="FILE", help="write a job array for sbatch instead of starting the runs")
    elsewhere.add_argument(
        "--ray", metavar="ADDRESS", help="run on a Ray cluster: auto, HOST:PORT, or local to start one here"
    )


def _run(options: argparse.Namespace) -> int:
    values = flags.chosen(options)
    if name := values.get("experiment"):
        if options.origin:
            raise SDSError("an experiment finds the parent by itself", cure="drop --from, or drop --experiment")
        return follow_new(_create([config_in(name, values)]))
    if options.origin is None:
        if values.get("phase"):
            values.setdefault("schedule", "staged")
        runs = _create([RunConfig.from_dict(values)])
        code = follow_new(runs)
        _print_published(runs)
        return code
    phase = getattr(options, "phase", 0)
    if phase < 2:
        raise SDSError("--from requires --phase 2, 3 or 4", got=f"--phase {phase}")
    parent = open_run(options.origin)
    if phase == 4 and values.get("reconstruct", MODEL) == MODEL:
        values["reconstruct"] = then_distilled(parent.config.reconstruct)
    method, reconstruct = (values.get(name, getattr(parent.config, name)) for name in ("method", "reconstruct"))
    make_method(method, values["options"])  # its name may be mistyped
    steps = phase_numbers_of(method, reconstruct)
    if phase not in steps:
        raise SDSError(f"method {method} has no phase {phase}", allowed=" or ".join(map(str, steps)))
    origin = as_parent(parent, steps[steps.index(phase) - 1])
    return follow_new(_create([branch(parent.config, values, origin)]))


def _create(configs: list[RunConfig]) -> list[Run]:
    """Create the runs, or none of them."""
    return create_all(configs, load_registry(config.pruner for config in configs))


def _resume(options: argparse.Namespace) -> int:
    run = open_run(options.run)
    if changes := {name: value for name, value in vars(options).items() if name in RESUMED}:
        reconfigure(run, changes)
    return follow([run])


def _inspect(options: argparse.Namespace) -> int:
    from sds_core.runs.external import external_config

    values = {name: value for name, value in flags.chosen(options).items() if name not in FIXED_BY_INSPECT}
    run = create(external_config(options.checkpoint, options.dense, values))
    code = follow_new([run])
    if run.folder.exists() and (result := run.result()):
        zeros = f"{result.pruned:,} of {result.prunable:,} prunable weights are zero ({result.sparsity:.4%}), "
        zeros += f"{result.zeros:,} of all {result.total:,} ({result.zero_share:.4%})"
        others = len(result.other_differing_tensors)
        print(
            f"pattern {run.config.pattern}: {zeros}"
            + (f"; {others} other tensors differ from the dense model's" if others else "")
        )
    return code


def _compare(options: argparse.Namespace) -> int:
    return _run_together(method_configs(flags.chosen(options), options.methods))


def _demo(options: argparse.Namespace) -> int:
    from sds_core.models.check_model import check_model

    configs = method_configs(DEMO_SETTINGS)
    check_model(configs[0].model)  # before each of the runs says that it is missing
    return _run_together(configs)


def _sweep(options: argparse.Namespace) -> int:
    configs = grid(flags.chosen(options), options.models, options.patterns, options.seeds, options.methods)
    if options.ray:
        return _on_ray(configs, options.ray)
    if options.slurm:
        runs = _create(configs)
        with deleted_on_error(runs):
            slurm_array(runs, user_path(options.slurm))
        print(f"created {len(runs)} runs; start them with: sbatch {options.slurm}")
        return 0
    by_model = [[c for c in configs if c.model == model] for model in dict.fromkeys(c.model for c in configs)]
    return max(_run_together(group) for group in by_model)


def _on_ray(configs: list[RunConfig], address: str) -> int:
    """Run on a Ray cluster, then print one table per model."""
    from sds_core.extras.ray_cluster import connect, submit

    ray = connect(address)
    runs = _create(configs)
    try:
        return follow_new(runs, partial(submit, ray))
    finally:  # what finished before an interruption, too
        existing = [run for run in runs if run.folder.exists()]
        for model in dict.fromkeys(config.model for config in configs):
            _print_table([run for run in existing if run.config.model == model])


def _run_together(configs: list[RunConfig]) -> int:
    """Run in one worker, then print one table."""
    runs = _create(configs)
    try:
        return follow_new(runs)
    finally:  # what finished before an interruption, too
        _print_table([run for run in runs if run.folder.exists()])


def _print_table(runs: list[Run]) -> None:
    """Print the runs beside each other, and which is best."""
    known = finished_outcomes()
    if rows := side_by_side(runs, known):
        print(table(rows))
        for ranking in rank([row.outcome for row in rows], known):
            print("\n".join(answer(ranking)))
    _print_published(runs)


def _print_published(runs: list[Run]) -> None:
    """Print what the paper published beside runs in its setting."""
    if lines := beside_published(run for run in runs if run.folder.exists()):
        print("\n".join(lines))
