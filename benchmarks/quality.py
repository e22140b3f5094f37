"""Perplexity of the methods at the same sparsity, over calibration seeds, with paired errors.

    python benchmarks/quality.py STUDY --evaluations TEXT … [--models demo] [--seeds 0 1 2] [--patterns …] [--methods …]

A study is a list of settings; each becomes one run per seed, model and text, one seed completely before the next. They
are ordinary runs without kept weights, in the folder --runs, and the app can show them. All work is done in this
process: killed, the same command goes on where it was. The results go to --out: STUDY.md (a table per model and text,
a row per setting) and STUDY.csv (a row per run); --table writes them at any time from the runs that are finished.
"""

import argparse
import csv
import itertools
import math
import os
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as workers have it; read when torch is imported

from benchmarks.studies import RECIPES, STUDIES, Changes
from sds_core.errors import SDSError
from sds_core.pruning.methods import matched_options
from sds_core.pruning.perplexity import Comparison, Perplexity, compare
from sds_core.pruning.stages import Stage
from sds_core.runs.config import RunConfig
from sds_core.runs.new_run import create
from sds_core.runs.phases import PLAIN, RECONSTRUCTED, beside_methods
from sds_core.runs.run_folder import Run, ids, open_run
from sds_core.runs.worker import work


class Setting(NamedTuple):
    """One row of a study: the same configuration with several seeds."""

    changes: Changes
    runs: list[Run]

    def losses(self, stage: Stage | None = None) -> Perplexity:
        """Return each window's loss at a stage (default: the last one), averaged over seeds."""
        found = [run.result() for run in self.runs]
        measured = [result.perplexity[stage or result.last] for result in found if result]
        rows = zip(*(each.losses for each in measured), strict=True)
        return Perplexity(tuple(map(statistics.fmean, rows)), measured[0].tokens)

    def spread(self, other: "Setting") -> float:
        """Return the standard deviation over seeds of the log ratio to another setting; NaN with one seed."""
        ratios = [
            Setting({}, [mine]).against(Setting({}, [its])).log_ratio
            for mine, its in zip(self.runs, other.runs, strict=True)
        ]
        return statistics.stdev(ratios) if len(ratios) > 1 else math.nan

    @property
    def cpu_seconds(self) -> float:
        """Of all phases, the mean over seeds."""
        return statistics.fmean(sum(run.finished_result().cpu_seconds.values()) for run in self.runs)

    def against(self, other: "Setting") -> Comparison:
        """Compare with another setting, paired window by window."""
        return compare(self.losses(), other.losses())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument(
        "--evaluations", nargs="+", required=True, help="held-out texts, for example wikitext-2-raw.test.txt@0-50%%"
    )
    parser.add_argument("--models", nargs="+", default=["demo"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--patterns", nargs="+", help="only these (default: all in the study)")
    parser.add_argument("--methods", nargs="+", metavar="METHOD:PRUNER", help="only these (default: all in the study)")
    parser.add_argument("--runs", default="runs-quality", help="folder of the runs (default: %(default)s)")
    parser.add_argument("--out", default="benchmarks/results", help="folder of the tables (default: %(default)s)")
    parser.add_argument("--table", action="store_true", help="write the tables of finished runs, start none")
    options = parser.parse_args()
    os.environ["SDS_RUNS"] = str(Path(options.runs).resolve())
    try:
        study(options)
    except SDSError as error:
        sys.exit(f"error: {error}")


def study(options: argparse.Namespace) -> None:
    """Create the runs that are missing, run those that are not finished, and write the tables."""
    shared = {"keep_weights": False, "title": options.study}
    known = {repr(open_run(run).config): open_run(run) for run in ids()}
    chosen = [changes for changes in STUDIES[options.study] if wanted(RunConfig.from_dict(changes), options)]
    places = list(itertools.product(options.models, options.evaluations))
    found: dict[tuple[str, str], list[list[Run]]] = {place: [[] for _ in chosen] for place in places}
    todo = []
    for seed, place in itertools.product(options.seeds, places):  # one seed completely, then the next
        for changes, runs in zip(chosen, found[place], strict=True):
            where = dict(zip(("model", "evaluation"), place, strict=True))
            config = RunConfig.from_dict({**shared, **where, **changes, "seed": seed})
            run = known.get(repr(config)) or (None if options.table else create(config))
            if run is not None:
                runs.append(run)
                todo += [run] if run.result() is None else []
    if todo and not options.table:
        run_all(todo)
    tables = {
        place: [
            Setting(changes, done)
            for changes, runs in zip(chosen, found[place], strict=True)
            if (done := [run for run in runs if run.result()])
        ]
        for place in places
    }
    write(Path(options.out), options.study, tables)


def wanted(config: RunConfig, options: argparse.Namespace) -> bool:
    method = f"{config.method}:{config.pruner}"
    return config.pattern in (options.patterns or [config.pattern]) and method in (options.methods or [method])


def run_all(runs: list[Run]) -> None:
    """Run one after the other, and report each that ends.

    Raises:
        SDSError: one did not finish; those after it are not begun.
    """
    began = time.monotonic()
    for number, run in enumerate(runs, start=1):
        work([run], [run.take_lock()])
        minutes = (time.monotonic() - began) / 60
        print(f"{number} of {len(runs)}, {minutes:.0f} min: {run.id} {run.state()}", file=sys.stderr, flush=True)
        if run.result() is None:
            raise SDSError(f"run {run.id} did not finish: see {run.folder}", cure="the same command goes on with it")


def write(folder: Path, name: str, tables: dict[tuple[str, str], list[Setting]]) -> None:
    """Write the tables of the finished runs."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        line
        for (model, text), settings in tables.items()
        for line in (f"{model} on {text}:", "", *markdown(settings), "")
    ]
    (folder / f"{name}.md").write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))
    rows = [row for settings in tables.values() for row in csv_rows(settings)]
    with open(folder / f"{name}.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]) if rows else [])
        writer.writeheader()
        writer.writerows(rows)


def markdown(settings: list[Setting]) -> Iterator[str]:
    """Yield a table with a row per setting: ratios of perplexities, ± paired over windows, [spread over seeds].

    The limit is that of the ratio to the same method with its default options, observed in the model's precision: two
    standard errors above it, of windows and seeds together.
    """
    head = (
        "setting",
        "seeds",
        "perplexity",
        "× dense",
        "× base",
        "× control",
        "× recipe",
        "× default",
        "limit",
        "CPU s",
    )
    yield f"| {' | '.join(head)} | × matrix | % a CPU minute | one-shot | × one-shot |"
    yield "|---" * (len(head) + 4) + "|"
    for setting in settings:
        own = RunConfig.from_dict(setting.changes)
        base = partner(setting, settings, {"method": "base", "options": {}, **beside_methods(own.to_dict())})
        control = partner(setting, settings, {"method": "adjusted", "options": matched_options(own.made_method())})
        recipe = next((other for other in settings if other.changes in RECIPES), None)
        default = partner(setting, settings, {"options": {}, "observation": "model"})
        cells = [*(ratio(setting, other) for other in (base, control, recipe, default)), limit(setting, default)]
        dense = compare(setting.losses(), setting.losses("dense"))
        plain = partner(setting, settings, PLAIN)
        yield (
            f"| {label(setting.changes)} | {len(setting.runs)} | {setting.losses().value:.2f} "
            f"| {dense.ratio:.3f} ± {dense.ratio * dense.error:.3f} | {' | '.join(cells)} | {setting.cpu_seconds:.0f} "
            f"| {ratio(setting, plain)} | {gain_a_minute(setting, plain)} {one_shot(setting)} |"
        )


def gain_a_minute(setting: Setting, plain: Setting | None) -> str:
    """Return how much lower perplexity is than without reconstruction, for each minute that this took longer."""
    if plain is None or plain is setting or seeds(plain) != seeds(setting):
        return ""
    minutes = (setting.cpu_seconds - plain.cpu_seconds) / 60
    return f"{100 * (1 - setting.against(plain).ratio) / minutes:.1f}" if minutes > 0 else ""


def one_shot(setting: Setting) -> str:
    """Return two cells: perplexity before the model was distilled, and the ratio to it; empty where it was not."""
    config = RunConfig.from_dict(setting.changes)
    if not config.distillation:
        return "|  | "
    before = setting.losses(config.one_shot)
    gained = compare(setting.losses(), before)
    return f"| {before.value:.2f} | {gained.ratio:.3f} ± {gained.ratio * gained.error:.3f}"


def partner(setting: Setting, settings: list[Setting], changes: Changes) -> Setting | None:
    """Return the setting that differs from this one only by these changes of the method, if the study has it."""
    mine = RunConfig.from_dict({**setting.changes, "schedule": "fused", **changes})
    for other in settings:
        its = RunConfig.from_dict(other.changes)
        if its.made_method() == mine.made_method() and replace(its, options=mine.options) == mine:
            return other
    return None


def seeds(setting: Setting) -> list[int]:
    return [run.config.seed for run in setting.runs]


def ratio(setting: Setting, other: Setting | None) -> str:
    if other is None or other is setting or seeds(other) != seeds(setting):
        return ""
    found, spread = setting.against(other), setting.spread(other)
    between = "" if math.isnan(spread) else f" [{found.ratio * spread:.3f}]"
    return f"{found.ratio:.3f} ± {found.ratio * found.error:.3f}{between}"


def limit(setting: Setting, other: Setting | None) -> str:
    """Return the ratio two standard errors above the measured one; empty where there are fewer than two seeds."""
    if other is None or other is setting or seeds(other) != seeds(setting) or len(setting.runs) < 2:
        return ""
    found = setting.against(other)
    error = math.hypot(found.error, setting.spread(other) / math.sqrt(len(setting.runs)))
    return f"{math.exp(found.log_ratio + 2 * error):.3f}"


def label(changes: Changes) -> str:
    """Return a setting in words."""
    config = RunConfig.from_dict(changes)
    extra = [config.schedule] if config.schedule != "fused" else []
    extra += [config.allocation] if config.allocation != "uniform" else []
    extra += [config.calibration] if config.calibration != "self" else []
    extra += [f"observed in {config.observation}"] if config.observation != "model" else []
    extra += [
        f"{name.replace('_', ' ')} {value}" for name in RECONSTRUCTED if (value := getattr(config, name)) != PLAIN[name]
    ]
    extra += [f"{key} {value:g}" for key, value in config.options.items()]
    calibrated = f"{config.samples}×{config.length}"
    return ", ".join([f"{config.pattern} {config.method} from {config.pruner}", calibrated, *extra])


def csv_rows(settings: list[Setting]) -> Iterator[dict[str, Any]]:
    for setting in settings:
        for run in setting.runs:
            found = run.finished_result()
            last, software = found.last_perplexity, found.software
            yield {
                "run": run.id,
                "model": run.config.model,
                "evaluation": run.config.evaluation,
                "setting": label(setting.changes),
                "seed": run.config.seed,
                "perplexity": last.value,
                "dense": found.dense_perplexity.value,
                "log_ratio_to_dense": last.log_ratio,
                "error_over_windows": last.error,
                "pruned": found.pruned,
                "model_sparsity": found.model_sparsity,
                "cpu_seconds": sum(found.cpu_seconds.values()),
                "command": found.command,
                "machine": software.machine,
                "torch": software.torch,
                "transformers": software.transformers,
                "version": software.version,
            }


if __name__ == "__main__":
    main()
