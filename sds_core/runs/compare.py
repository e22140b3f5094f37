"""Finished runs beside each other, paired window by window with the dense model, the base pruner and the control."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from sds_core.errors import SDSError
from sds_core.pruning.methods import METHODS, matched_options, option_names
from sds_core.pruning.pattern import Unstructured
from sds_core.pruning.perplexity import Comparison, Perplexity, compare
from sds_core.runs.config import CALIBRATED, RunConfig
from sds_core.runs.run_folder import Run

REFERENCES = {"base": "base", "control": "adjusted"}
"""Methods that others with the same pruner and pattern are compared to."""
SAME_DENSE = 0.05
"""Nats by which the dense model's loss on a window may differ between two runs: more than precision and hardware do,
less than another model of the same size."""

BESIDES = ("pattern", "options", "title", "device", "threads", "weights", "keep_weights")
"""What runs of one sweep may differ in: the pattern, and what changes no outcome (options count with the method)."""


@dataclass(frozen=True)
class Row:
    """One run's outcome."""

    run: str
    config: RunConfig
    sparsity: float
    """Share of pruned weights among the prunable ones."""
    model_sparsity: float
    """Share of pruned weights among all."""
    measured: Perplexity
    """Of the weights that the run ended with."""
    dense: Perplexity
    against: dict[str, Comparison]
    """To the `dense` model, to the `base` pruner alone and to the weights-only `control`, as far as they are here."""

    @property
    def perplexity(self) -> float:
        return self.measured.value


@dataclass(frozen=True)
class Verdict:
    """Which of the runs with one pattern is best, and whether that is sure."""

    pattern: str
    best: Row
    others: list[tuple[Row, Comparison]]
    """The other runs, by perplexity, and the best run's comparison to each."""


def sort_out(runs: list[Run]) -> tuple[list[Run], dict[str, str]]:
    """The finished runs that can be paired with each other, and for every other run the reason why it cannot.

    The largest set of runs that agree in model and evaluation windows stays; of equally large ones, the first.
    """
    reasons, groups = dict[str, str](), list[list[tuple[Run, dict[str, Any]]]]()
    for run in runs:
        try:
            _, result = run.config, run.result()
        except SDSError as error:
            reasons[run.id] = str(error)
            continue
        if result is None:
            reasons[run.id] = f"it is not finished: {run.state()}"
            continue
        home = next((group for group in groups if _difference(group[0][1], result) is None), None)
        if home is None:
            groups.append([(run, result)])
        else:
            home.append((run, result))
    kept = max(groups, key=len, default=[])
    for group in groups:
        if group is not kept:
            reasons |= {run.id: f"it has {_difference(kept[0][1], result)}" for run, result in group}
    return [run for run, _ in kept], reasons


def side_by_side(runs: list[Run]) -> list[Row]:
    """Rows in the order of the runs, unfinished ones left out.

    Raises:
        SDSError: runs differ in model or evaluation windows, so that nothing can be paired.
    """
    finished = [(run, run.config, result) for run in runs if (result := run.result())]
    for run, _, result in finished:
        if difference := _difference(finished[0][2], result):
            raise SDSError(f"run {run.id} has {difference}, so these runs cannot be compared window by window")
    rows = []
    for run, config, result in finished:
        mine, dense = _measured(result, result["last"]), _measured(result, "dense")
        against = {"dense": compare(mine, dense)}
        for name, method in REFERENCES.items():
            other = next((r for _, c, r in finished if _is_reference(c, method, config)), None)
            if other is not None and config.method not in ("base", method):
                against[name] = compare(mine, _measured(other, other["last"]))
        rows.append(Row(run.id, config, result["sparsity"], result["model_sparsity"], mine, dense, against))
    return rows


def verdicts(rows: list[Row]) -> list[Verdict]:
    """Of each pattern that two or more runs share, which run is best. Runs that end re-dense do not take part: they
    prune nothing. Patterns that prune less come first."""
    groups: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: row.sparsity):
        if row.config.written_by(row.config.phases[-1]) != "redense":
            groups.setdefault(_pattern(row.config), []).append(row)
    found = []
    for pattern, group in groups.items():
        best, *others = sorted(group, key=lambda row: row.perplexity)
        if others:
            found.append(Verdict(pattern, best, [(other, compare(best.measured, other.measured)) for other in others]))
    return found


def sweeps(rows: list[Row]) -> list[list[Row]]:
    """Runs that differ only in how many weights they prune, wherever these lie; by that ratio, at least two ratios."""
    groups: dict[str, list[tuple[Fraction, Row]]] = {}
    for row in rows:
        pattern = row.config.parsed_pattern()
        if isinstance(pattern, Unstructured):
            same = {name: value for name, value in row.config.to_dict().items() if name not in BESIDES}
            groups.setdefault(repr((same, row.config.made_method())), []).append((pattern.ratio, row))
    found = [sorted(group, key=lambda pair: pair[0]) for group in groups.values() if len({r for r, _ in group}) > 1]
    return [[row for _, row in group] for group in found]


def names(rows: list[Row]) -> dict[str, str]:
    """What to call each run in a table or picture."""
    return called({row.run: row.config for row in rows})


def called(runs: dict[str, RunConfig]) -> dict[str, str]:
    """Method, pruner and, where they differ, pattern of each run; where these are alike, what sets the runs apart."""
    several = len({_pattern(config) for config in runs.values()}) > 1
    short = {}
    for run, config in runs.items():
        words = [METHODS[config.method].title, config.pruner_title]
        short[run] = " · ".join([*words, _pattern(config)] if several else words)
    alike = {name: [run for run in runs if short[run] == name] for name in short.values()}
    full = {run: " · ".join([name, *_apart(runs[run], [runs[r] for r in alike[name]])]) for run, name in short.items()}
    known = list(full.values())
    return {run: f"{name} · {run[-6:]}" if known.count(name) > 1 else name for run, name in full.items()}


def _apart(config: RunConfig, others: list[RunConfig]) -> Iterator[str]:
    """The settings and options of a run that are not the same in all of the others, in words."""
    for name in ("model", "schedule", "allocation", *CALIBRATED):
        if len({getattr(other, name) for other in others}) > 1:
            yield f"{name} {getattr(config, name)}"
    for name in option_names(config.method):
        if len({getattr(other.made_method(), name) for other in others}) > 1:
            value = getattr(config.made_method(), name)
            told = ("no", "yes")[value] if isinstance(value, bool) else f"{value:g}"
            yield f"{name.replace('_', ' ')} {told}"


def records(rows: list[Row]) -> list[dict[str, Any]]:
    """Rows as plain values at full precision, for a file; None where a reference is missing.

    `error_…` is the paired standard error of `log_ratio_…` over windows, and `ratio_…` is e to the power of that.
    """
    found = []
    for row in rows:
        values: dict[str, Any] = {"run": row.run}
        told = ("title", "model", "method", "pruner", "pruner_sha256", "pattern")
        values |= {name: getattr(row.config, name) for name in told}
        values |= {"sparsity": row.sparsity, "model_sparsity": row.model_sparsity, "perplexity": row.perplexity}
        for name in (*REFERENCES, "dense"):
            paired = row.against.get(name)
            values[f"ratio_{name}"] = paired.ratio if paired else None
            values[f"log_ratio_{name}"] = paired.log_ratio if paired else None
            values[f"error_{name}"] = paired.error if paired else None
        values |= {"evaluation": row.config.evaluation, "windows": len(row.measured.losses)}
        found.append(values | {"tokens": row.measured.tokens})
    return found


def table(rows: list[Row]) -> str:
    """Rows as plain text; a ratio below 1 is better, its error is the paired standard error over windows."""
    wide = max([11, *(len(row.config.pruner_title) + 2 for row in rows)])
    head = f"{'method':<12}{'pruner':<{wide}}{'pattern':<9}{'sparsity':<11}{'perplexity':<12}{'× dense':<9}"
    lines = [f"{head}{'× base ± error':<18}× control ± error"]
    for row in rows:
        base, control = (_ratio(row.against.get(name)) for name in REFERENCES)
        line = (
            f"{row.config.method:<12}{row.config.pruner_title:<{wide}}{row.config.pattern:<9}{row.sparsity:<11.4%}"
            f"{row.perplexity:<12.2f}{row.against['dense'].ratio:<9.3f}{base:<18}{control}"
        )
        lines.append(line.rstrip())
    return "\n".join(lines)


def _pattern(config: RunConfig) -> str:
    """How many weights are pruned, and of which layers."""
    return str(config.parsed_pattern()) + (f" without {config.exclude}" if config.exclude else "")


def _ratio(paired: Comparison | None) -> str:
    return f"{paired.ratio:.4f} ± {paired.ratio * paired.error:.4f}" if paired else ""


def _measured(result: dict[str, Any], stage: str) -> Perplexity:
    found = result["perplexity"][stage]
    return Perplexity(tuple(found["losses"]), found["tokens"])


def _difference(one: dict[str, Any], other: dict[str, Any]) -> str | None:
    """What keeps two results from being paired, or None."""
    if one["evaluation_sha256"] != other["evaluation_sha256"]:
        return "another evaluation text, or other windows of it"
    losses = zip(*(_measured(result, "dense").losses for result in (one, other)), strict=True)
    if one["total"] != other["total"] or any(abs(mine - its) > SAME_DENSE for mine, its in losses):
        return "another model"
    return None


def _is_reference(config: RunConfig, method: str, mine: RunConfig) -> bool:
    """Whether a run is the base, or the control with the same shrinkage and share of the teacher."""
    same = ("pruner", "pruner_sha256", "pattern", "exclude", *CALIBRATED)
    alike = all(getattr(config, name) == getattr(mine, name) for name in same)
    comparable = method == "base" or matched_options(config.made_method()) == matched_options(mine.made_method())
    return config.method == method and alike and comparable
