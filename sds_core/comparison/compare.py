"""Tabulate finished runs, each compared with its references."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from sds_core.comparison.claims import listed, short
from sds_core.comparison.outcomes import Outcome, finished_outcomes, mismatch, outcome_of
from sds_core.comparison.references import ROLES, Against, Role, references
from sds_core.errors import SDSError
from sds_core.pruning.pattern import Unstructured
from sds_core.pruning.perplexity import format_perplexity, format_ratio
from sds_core.runs.config import RunConfig
from sds_core.runs.experiment import WORKING
from sds_core.runs.names import called
from sds_core.runs.run_folder import Run

MAY_DIFFER = ("pattern", "options", "title", "experiment", *WORKING)
"""Options that may differ within a sweep: the pattern, and those that change no outcome (method options count)."""
REDENSE = "it is a re-dense model: nothing in it is pruned, so it is not ranked"


@dataclass(frozen=True)
class Row:
    """One run's outcome, and the claims about it."""

    outcome: Outcome
    against: dict[Role, Against]
    """By reference; those that exist."""

    @property
    def run(self) -> str:
        return self.outcome.run

    @property
    def config(self) -> RunConfig:
        return self.outcome.config

    @property
    def perplexity(self) -> float:
        return self.outcome.perplexity


def sort_out(runs: list[Run], asked: Sequence[str] = ()) -> tuple[list[Run], dict[str, str]]:
    """Return the finished runs that can be paired with each other, and the reason why each other run cannot.

    These are the largest set of runs that agree in model and evaluation windows; of equally large ones, the first.

    Args:
        asked: ids of runs that are asked for: the set that holds the earliest of them comes before a larger one.
    """
    reasons, groups = dict[str, str](), list[list[tuple[Run, Outcome]]]()
    for run in runs:
        try:
            outcome = outcome_of(run)
            if outcome is None:
                reasons[run.id] = f"it is not finished: {run.state()}"
                continue
        except SDSError as error:
            reasons[run.id] = str(error)
            continue
        if outcome.stage == "redense":
            reasons[run.id] = REDENSE
            continue
        home = next((group for group in groups if mismatch(group[0][1], outcome) is None), None)
        if home is None:
            groups.append([(run, outcome)])
        else:
            home.append((run, outcome))
    places = {run: place for place, run in enumerate(asked)}

    def rank(group: list[tuple[Run, Outcome]]) -> tuple[int, int]:
        return min(places.get(run.id, len(places)) for run, _ in group), -len(group)

    kept = min(groups, key=rank, default=[])
    for group in groups:
        if group is not kept:
            reasons |= {run.id: f"it has {mismatch(kept[0][1], outcome)}" for run, outcome in group}
    return [run for run, _ in kept], reasons


def side_by_side(runs: list[Run], known: Sequence[Outcome] | None = None) -> list[Row]:
    """Return rows in the order of the runs; unfinished runs and re-dense models are left out.

    Args:
        runs: the runs to compare.
        known: finished runs to search for references and other seeds; by default all in the folder.

    Raises:
        SDSError: runs differ in model or evaluation windows, so that nothing can be paired.
    """
    found = [outcome for run in runs if (outcome := outcome_of(run)) and outcome.stage != "redense"]
    for outcome in found:
        if difference := mismatch(found[0], outcome):
            raise SDSError(f"run {outcome.run} has {difference}, so these runs cannot be compared window by window")
    known = finished_outcomes() if known is None else known
    return [Row(outcome, references(outcome, known)) for outcome in found]


def sweeps(rows: list[Row]) -> list[list[Row]]:
    """Return groups of two or more runs that differ only in the ratio of pruned weights, sorted by it."""
    groups: dict[str, list[tuple[Fraction, Row]]] = {}
    for row in rows:
        made = row.outcome.made
        pattern = made.parsed_pattern()
        if isinstance(pattern, Unstructured):
            same = {name: value for name, value in made.to_dict().items() if name not in MAY_DIFFER}
            groups.setdefault(repr((same, made.made_method())), []).append((pattern.ratio, row))
    found = [sorted(group, key=lambda pair: pair[0]) for group in groups.values() if len({r for r, _ in group}) > 1]
    return [[row for _, row in group] for group in found]


def names(rows: list[Row]) -> dict[str, str]:
    """Return a name for each run in a table or figure."""
    return called({row.run: row.config for row in rows})


Record = dict[str, str | float | None]
"""A line of a CSV file: values by column, None for an empty cell."""


def records(rows: list[Row]) -> list[Record]:
    """Return rows at full precision, for a file; None where a reference or an error is missing.

    `window_error_…` and `seed_error_…` are standard errors of `log_ratio_…`, and `ratio_…` is e to the power of that.
    """
    found, called = [], names(rows)
    for row in rows:
        outcome = row.outcome
        values: Record = {"run": row.run, "name": called[row.run]}
        settings = ("title", "model", "method", "pruner", "pruner_sha256", "pattern", "seed")
        values |= {name: getattr(outcome.made, name) for name in settings}
        values |= {"sparsity": outcome.sparsity, "model_sparsity": outcome.model_sparsity, "perplexity": row.perplexity}
        for role in ROLES:
            values |= _claim_columns(role, row.against.get(role))
        values |= {"evaluation": row.config.evaluation, "windows": len(outcome.measured.losses)}
        found.append(values | {"tokens": outcome.measured.tokens})
    return found


def _claim_columns(role: Role, against: Against | None) -> Record:
    """Return the columns about one reference."""
    columns = ("ratio", "log_ratio", "window_error", "seed_error", "seed_source", "verdict")
    values: Record = {f"reference_{role}": (against.run or "dense") if against else None}
    return values | {f"{name}_{role}": getattr(against.claim, name) if against else None for name in columns}


def table(rows: list[Row]) -> str:
    """Return rows as plain text; a ratio below 1 is better, its errors are over windows and over seeds."""
    called = names(rows)
    wide = max(8, *(len(name) + 2 for name in called.values()))
    head = f"{'method':<{wide}}{'pattern':<9}{'sparsity':<11}{'perplexity':<12}{'× dense':<9}"
    lines = [f"{head}{'× base ± windows ± seeds':<26}× control ± windows ± seeds"]
    for row in rows:
        base, control = (short(row.against[role].claim) if role in row.against else "" for role in ROLES[:2])
        line = (
            f"{called[row.run]:<{wide}}{row.config.pattern:<9}{row.outcome.sparsity:<11.4%}"
            f"{format_perplexity(row.perplexity):<12}{format_ratio(row.against['dense'].claim.log_ratio):<9}"
            f"{base:<26}{control}"
        )
        lines.append(line.rstrip())
    return "\n".join([*lines, *reference_lines(rows)])


def reference_lines(rows: list[Row]) -> list[str]:
    """Return which runs the ratios refer to, one line per reference."""
    called = names(rows)
    found: dict[tuple[Role, str, str], list[str]] = {}
    for row in rows:
        for role in ROLES[:2]:
            if against := row.against.get(role):
                found.setdefault((role, against.name, against.run), []).append(called[row.run])
    return [f"× {role} of {listed(mine)}: {name} ({run})" for (role, name, run), mine in found.items()]
