"""What each method gains at the same sparsity, over calibration seeds, with paired errors: a study anyone can repeat.

    python benchmarks/quality.py STUDY --evaluations TEXT … [--models demo] [--seeds 0 1 2] [--patterns …] [--methods …]

A study is a list of settings; each becomes one run for every seed, model and text. Runs are ordinary runs without kept
weights, in the folder named by --runs, so a study that was interrupted goes on where it stopped, and its runs can be
looked at in the app. Written to --out: STUDY.md (a table for every model and text, a row a setting) and STUDY.csv (a
row a run).
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

from sds_core.errors import SDSError
from sds_core.pruning.methods import matched_options
from sds_core.pruning.perplexity import Comparison, Perplexity, compare
from sds_core.runs.config import ALLOCATIONS, RunConfig
from sds_core.runs.run_folder import Run, create, ids, open_run
from sds_core.runs.worker import launch

Changes = dict[str, Any]
"""What a setting changes of `RunConfig`'s defaults."""

BASES: list[Changes] = [{"method": "base", "pruner": pruner} for pruner in ("magnitude", "wanda", "sparsegpt")]
CONTROLS: list[Changes] = [
    {"method": method, "pruner": pruner}
    for pruner in ("wanda", "sparsegpt")
    for method in ("swaps", "straight-through", "adjusted")
] + [
    {"method": "adjusted", "pruner": pruner, "options": {"beta": 0.2, "sequential": True}}
    for pruner in ("wanda", "sparsegpt")
]
TOGETHER: list[Changes] = [
    {"method": "sds-admm", "pruner": "wanda", "options": {"block_epochs": 2}},
    {"method": "adjusted", "pruner": "wanda", "options": {"beta": 0.2, "sequential": True, "block_epochs": 2}},
]
CHOSEN: list[Changes] = [
    {"method": method, "pruner": pruner} for pruner in ("wanda", "sparsegpt") for method in ("sds", "sds-admm")
]
DEVELOPMENT = {"samples": 16, "length": 512, "eval_windows": 24, "eval_length": 512}
MEMORY = {"method": "sds-admm", "pruner": "wanda"}

STUDIES: dict[str, list[Changes]] = {
    "methods": [
        {"pattern": pattern, "eval_windows": 64, "eval_length": 1024, **setting}
        for pattern in ("2:4", "50%")
        for setting in (*BASES, *CHOSEN, *CONTROLS, *TOGETHER)
    ],
    "second": [
        {**DEVELOPMENT, **setting}
        for setting in (*BASES, *CHOSEN, {"method": "adjusted", "pruner": "sparsegpt"}, *TOGETHER)
    ],
    "ablations": [
        {**DEVELOPMENT, **setting}
        for setting in (
            *BASES,
            *CHOSEN,
            *CONTROLS,
            MEMORY | {"pruner": "magnitude"},
            MEMORY | {"options": {"sequential": False}},
            *(MEMORY | {"options": {"beta": beta}} for beta in (0.0, 0.1, 0.15, 0.3, 0.5, 1.0)),
            *(MEMORY | {"options": {"alpha": alpha}} for alpha in (0.05, 0.1, 0.4)),
            *(
                MEMORY | {"options": {"rounds": rounds, "rho_growth": rho_growth}}
                for rounds, rho_growth in ((6, 1.7), (25, 1.15))
            ),
            *(MEMORY | {"options": {"block_epochs": epochs}} for epochs in (1, 2, 4)),
            MEMORY | {"schedule": "staged"},
            *(MEMORY | {"calibration": text} for text in ("python-docs", "self*3+python-docs")),
            *({"pattern": "4:8", "method": method, "pruner": "wanda"} for method in ("base", "sds-admm")),
            *(
                {"pattern": "70%", "method": method, "pruner": pruner, "allocation": allocation}
                for method, pruner in (("base", "wanda"), ("base", "sparsegpt"), ("sds-admm", "wanda"))
                for allocation in ALLOCATIONS
            ),
            *(MEMORY | {"samples": samples} for samples in (8, 32, 64)),
        )
    ],
}
"""`methods` makes the claims, on text that no choice has seen; `second` looks at 2:4 on a further text or model;
`ablations` is for choices, on development text."""

RECIPE = {**DEVELOPMENT, **MEMORY}
"""What the ablations are compared to."""


class Setting(NamedTuple):
    """One line of the study: the same configuration with several seeds."""

    changes: Changes
    runs: list[Run]

    def losses(self, stage: str | None = None) -> Perplexity:
        """Window by window, the mean over seeds of a stage's losses; the last stage's without a name."""
        found = [run.result() for run in self.runs]
        measured = [result["perplexity"][stage or result["last"]] for result in found if result]
        rows = zip(*(each["losses"] for each in measured), strict=True)
        return Perplexity(tuple(map(statistics.fmean, rows)), measured[0]["tokens"])

    def spread(self, other: "Setting") -> float:
        """Standard deviation over seeds of the log ratio to another setting; not a number with one seed."""
        ratios = [
            Setting({}, [mine]).against(Setting({}, [its])).log_ratio
            for mine, its in zip(self.runs, other.runs, strict=True)
        ]
        return statistics.stdev(ratios) if len(ratios) > 1 else math.nan

    def against(self, other: "Setting") -> Comparison:
        return compare(self.losses(), other.losses())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument(
        "--evaluations", nargs="+", required=True, help="held-out texts, such as wikitext-2-raw.test.txt@0-50%%"
    )
    parser.add_argument("--models", nargs="+", default=["demo"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--patterns", nargs="+", help="only these (default: all of the study)")
    parser.add_argument("--methods", nargs="+", metavar="METHOD:PRUNER", help="only these (default: all of the study)")
    parser.add_argument("--runs", default="runs-quality", help="folder of the runs (default: %(default)s)")
    parser.add_argument("--out", default="benchmarks/results", help="folder of the tables (default: %(default)s)")
    parser.add_argument("--table", action="store_true", help="only write the tables of what is finished")
    options = parser.parse_args()
    os.environ["SDS_RUNS"] = str(Path(options.runs).resolve())
    try:
        study(options)
    except SDSError as error:
        sys.exit(f"error: {error}")


def study(options: argparse.Namespace) -> None:
    shared = {"keep_weights": False, "title": options.study}
    known = {repr(open_run(run).config): open_run(run) for run in ids()}
    chosen = [changes for changes in STUDIES[options.study] if wanted(RunConfig.from_dict(changes), options)]
    places = list(itertools.product(options.models, options.evaluations))
    found: dict[tuple[str, str], list[list[Run]]] = {place: [[] for _ in chosen] for place in places}
    todo = []
    for seed, place in itertools.product(options.seeds, places):  # a whole seed, then the next
        for changes, runs in zip(chosen, found[place], strict=True):
            where = dict(zip(("model", "evaluation"), place, strict=True))
            config = RunConfig.from_dict({**shared, **where, **changes, "seed": seed})
            run = known.get(repr(config)) or (None if options.table else create(config))
            if run is not None:
                runs.append(run)
                todo += [run] if run.result() is None else []
    if todo and not options.table:
        work_off(todo)
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


def work_off(runs: list[Run]) -> None:
    """One worker for all runs, so that they share the model and its dense perplexity; says when one has ended."""
    process, began = launch(runs), time.monotonic()
    for number, run in enumerate(runs, start=1):
        while run.state() in ("queued", "running") and process.poll() is None:
            time.sleep(1)
        state, minutes = run.state(), (time.monotonic() - began) / 60
        print(f"{number} of {len(runs)}, {minutes:.0f} min: {run.id} {state}", file=sys.stderr, flush=True)
    process.wait()


def write(folder: Path, name: str, tables: dict[tuple[str, str], list[Setting]]) -> None:
    """The tables of what is finished."""
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
    """A line a setting: ratios are of perplexities, ± paired over windows, [spread over seeds]."""
    yield "| setting | seeds | perplexity | × dense | × base | × control | × recipe | CPU s |"
    yield "|---|---|---|---|---|---|---|---|"
    for setting in settings:
        base = partner(setting, settings, {"method": "base", "options": {}})
        own = RunConfig.from_dict(setting.changes).made_method()
        control = partner(setting, settings, {"method": "adjusted", "options": matched_options(own)})
        recipe = next((other for other in settings if other.changes == RECIPE), None)
        cells = [ratio(setting, other) for other in (base, control, recipe)]
        dense = compare(setting.losses(), setting.losses("dense"))
        seconds = statistics.fmean(sum(result(run)["cpu_seconds"].values()) for run in setting.runs)
        yield (
            f"| {label(setting.changes)} | {len(setting.runs)} | {setting.losses().value:.2f} "
            f"| {dense.ratio:.3f} ± {dense.ratio * dense.error:.3f} | {' | '.join(cells)} | {seconds:.0f} |"
        )


def partner(setting: Setting, settings: list[Setting], changes: Changes) -> Setting | None:
    """The setting that is this one but for the method, where it is in the study with the same seeds."""
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


def label(changes: Changes) -> str:
    """A setting in words."""
    config = RunConfig.from_dict(changes)
    extra = [config.schedule] if config.schedule != "fused" else []
    extra += [config.allocation] if config.allocation != "uniform" else []
    extra += [config.calibration] if config.calibration != "self" else []
    extra += [f"{key} {value:g}" for key, value in config.options.items()]
    calibrated = f"{config.samples}×{config.length}"
    return ", ".join([f"{config.pattern} {config.method} from {config.pruner}", calibrated, *extra])


def result(run: Run) -> dict[str, Any]:
    found = run.result()
    assert found is not None
    return found


def csv_rows(settings: list[Setting]) -> Iterator[dict[str, Any]]:
    for setting in settings:
        for run in setting.runs:
            found = result(run)
            last = found["perplexity"][found["last"]]
            yield {
                "run": run.id,
                "model": run.config.model,
                "evaluation": run.config.evaluation,
                "setting": label(setting.changes),
                "seed": run.config.seed,
                "perplexity": last["value"],
                "dense": found["perplexity"]["dense"]["value"],
                "log_ratio_to_dense": last["log_ratio"],
                "error_over_windows": last["error"],
                "pruned": found["pruned"],
                "model_sparsity": found["model_sparsity"],
                "cpu_seconds": sum(found["cpu_seconds"].values()),
                **{key: found[key] for key in ("command", "machine", "torch", "transformers", "version")},
            }


if __name__ == "__main__":
    main()
