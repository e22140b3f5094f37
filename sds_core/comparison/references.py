"""The references of a run: the dense model, its base pruner and its control, chosen by configuration alone.

References are looked for among all finished runs of the folder, so a ratio does not change with the runs that happen to
be shown.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal

from sds_core.comparison.claims import Claim, apart, incomparable, judge, listed, noise_floor, seed_error
from sds_core.comparison.environment import differences, environment
from sds_core.comparison.outcomes import Mismatch, Outcome, configuration_of, finished_outcomes, mismatch, outcome_of
from sds_core.comparison.study import study_spread
from sds_core.errors import SDSError
from sds_core.pruning.methods import matched_options
from sds_core.pruning.perplexity import Perplexity, compare, mean_over_runs
from sds_core.pruning.titles import BASE
from sds_core.runs.config import RunConfig
from sds_core.runs.names import name_of, pattern_of
from sds_core.runs.phases import beside_methods
from sds_core.runs.run_folder import Run, open_run, preceding

Role = Literal["dense", "base", "control"]
ROLES: tuple[Role, ...] = ("base", "control", "dense")
ROLE_METHODS = {"base": BASE, "control": "adjusted"}
"""The method in each role."""


@dataclass(frozen=True)
class Against:
    """A claim with the reference that it is about."""

    name: str
    """Name of the reference."""
    run: str
    """Its run; empty for the dense model."""
    claim: Claim


def references(mine: Outcome, known: Sequence[Outcome]) -> dict[Role, Against]:
    """Return the claims of one outcome against its base pruner, its control and the dense model, where these exist.

    Args:
        mine: of pruned weights.
        known: what all finished runs measured, the oldest first.
    """
    found: dict[Role, Against] = {}
    for role in ("base", "control"):
        if reference := find_reference(mine, role, known):
            name = f"{name_of(reference.made)} · {_which(mine, reference)}"
            found[role] = Against(name, reference.run, claim([mine], [reference], known))
    return found | {"dense": Against("the dense model", "", claim_against_dense(mine, known))}


def claims_about(run: Run) -> dict[Role, Against]:
    """Return the claims of a finished run against its references in the folder; none for a re-dense model.

    Raises:
        SDSError: the run's record is broken.
    """
    outcome = outcome_of(run)
    return references(outcome, finished_outcomes()) if outcome and outcome.stage != "redense" else {}


def find_reference(mine: Outcome, role: Role, known: Sequence[Outcome]) -> Outcome | None:
    """Return the base or the control of an outcome; None if there is none or the outcome is one itself.

    Of several, one of the same run or of the runs it continued from comes first, then the same seed and schedule, then
    the oldest.
    """
    wanted = _reference_config(mine.made, role)
    if wanted is None:
        return None
    schedules = [configuration_of(replace(wanted, schedule=schedule)) for schedule in ("fused", "staged")]
    serving = [o for o in known if o.configuration in schedules and mismatch(mine, o) is None]
    family = _family(mine.config)

    def distance(other: Outcome) -> tuple[bool, ...]:
        return (
            other.run != mine.run,
            other.run not in family,
            other.made.seed != mine.made.seed,
            other.made.schedule != mine.made.schedule,
        )

    return min(serving, key=distance, default=None)


def claim(mine: Sequence[Outcome], reference: Sequence[Outcome], known: Sequence[Outcome]) -> Claim:
    """Return how one configuration compares to another, by the mean over the runs given of each.

    Args:
        mine, reference: runs of one configuration each, with the same seeds or with none in common.
        known: all finished runs, for the spread over seeds.
    """
    one, other = mine[0], reference[0]
    if reason := _incomparable(one, other):
        return incomparable(reason)
    paired = compare(mean_over_runs([o.measured for o in mine]), mean_over_runs([o.measured for o in reference]))
    if one.repeats(other):
        return noise_floor(paired, _noise(one, other))
    if not {o.made.seed for o in mine} & {o.made.seed for o in reference}:
        return judge(
            paired, *apart(_seed_error_against_dense(mine, known), _seed_error_against_dense(reference, known))
        )
    ours, theirs = by_seed(mine, known), by_seed(reference, known)
    shared = {seed: (ours[seed].measured, theirs[seed].measured) for seed in ours.keys() & theirs.keys()}
    return judge(paired, *_seed_error(shared, one.made, other.made))


def claim_against_dense(mine: Outcome, known: Sequence[Outcome]) -> Claim:
    """Return how an outcome compares to the dense model that it was pruned from."""
    return judge(compare(mine.measured, mine.dense), *_seed_error_against_dense([mine], known))


def by_seed(mine: Sequence[Outcome], known: Sequence[Outcome]) -> dict[int, Outcome]:
    """Return the outcomes of one configuration by seed: those given, and for other seeds the oldest known."""
    alike = [o for o in known if o.configuration == mine[0].configuration and mismatch(mine[0], o) is None]
    return {o.made.seed: o for o in [*reversed(alike), *reversed(mine)]}


def _seed_error_against_dense(mine: Sequence[Outcome], known: Sequence[Outcome]) -> tuple[float | None, str]:
    pairs = {seed: (outcome.measured, outcome.dense) for seed, outcome in by_seed(mine, known).items()}
    return _seed_error(pairs, mine[0].made, None)


def _seed_error(
    pairs: Mapping[int, tuple[Perplexity, Perplexity]], config: RunConfig, reference: RunConfig | None
) -> tuple[float | None, str]:
    log_ratios = {seed: compare(*pair).log_ratio for seed, pair in pairs.items()}
    return seed_error(log_ratios, study_spread(config, reference))


def _reference_config(config: RunConfig, role: Role) -> RunConfig | None:
    """Return the configuration of a base or control; None where a run has none or is one itself."""
    if config.checkpoint:
        return None
    method = ROLE_METHODS[role]
    if role == "base":
        wanted = replace(config, method=method, options={}, **beside_methods(config.to_dict()))
        return None if wanted == config else wanted
    if config.method in (BASE, method):
        return None
    return replace(config, method=method, options=matched_options(config.made_method()))


def _incomparable(one: Outcome, other: Outcome) -> str | None:
    """Return why two outcomes must not be ranked against each other, in words; None where they may."""
    if reason := mismatch(one, other):
        return f"it was measured on {reason}" if reason is Mismatch.TEXT else f"it is {reason}"
    if "redense" in (one.stage, other.stage):
        return "a re-dense model has no pruned weights"
    if "distilled" in (one.stage, other.stage) and one.stage != other.stage:
        return "one of them was distilled afterwards, the other is one-shot"
    if one.may_repeat(other):
        return "both may be one configuration: the run of a phase before, whose options are not known, is gone"
    patterns = [pattern_of(o.made) for o in (one, other)]
    return None if patterns[0] == patterns[1] else f"they prune differently: {' and '.join(patterns)}"


def _noise(one: Outcome, other: Outcome) -> str:
    """Return what differs between two runs of the same configuration, in words."""
    found = []
    seeds = one.made.seed, other.made.seed
    if seeds[0] != seeds[1]:
        found.append(f"another calibration seed ({seeds[0]}; {seeds[1]})")
    elif one.calibration_sha256 != other.calibration_sha256:
        found.append("another calibration text under the same name")
    elif one.configuration != other.configuration:
        found.append("another name of the same calibration windows")
    with suppress(SDSError):  # a run that is broken or gone shows nothing
        found += differences(environment(open_run(one.run)), environment(open_run(other.run)))
    return listed(found) or "nothing that their records show"


def _family(config: RunConfig) -> list[str]:
    """Return the ids of the runs that a run in single phases continued from."""
    found = []
    run = preceding(config)
    while run:
        found.append(run.id)
        run = preceding(run.config)
    return found


def _which(mine: Outcome, reference: Outcome) -> str:
    """Return which run a reference is, in words."""
    return "phase 1 of the same run" if reference.run == mine.run else reference.run[-6:]
