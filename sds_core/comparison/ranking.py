"""Rank the configurations of a pattern, and say how certain the best is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from sds_core.comparison.claims import Claim, Verdict, listed, short, words
from sds_core.comparison.outcomes import Outcome
from sds_core.comparison.references import by_seed, claim
from sds_core.pruning.perplexity import format_perplexity, mean_over_runs
from sds_core.runs.names import called, name_of


@dataclass(frozen=True)
class Group:
    """The runs of one configuration, one per seed."""

    outcomes: tuple[Outcome, ...]

    @property
    def seeds(self) -> list[int]:
        return sorted(outcome.made.seed for outcome in self.outcomes)

    @property
    def perplexity(self) -> float:
        """The geometric mean over seeds."""
        return mean_over_runs([outcome.measured for outcome in self.outcomes]).value


@dataclass(frozen=True)
class Repetition:
    """Two runs of one configuration and one seed."""

    later: Outcome
    first: Outcome
    claim: Claim


@dataclass(frozen=True)
class Ranking:
    """The configurations of one pattern, the best first."""

    pattern: str
    groups: list[Group]
    claims: list[Claim]
    """The best configuration's claims against each other one, in their order."""
    repetitions: list[Repetition]


def rank(outcomes: Sequence[Outcome], known: Sequence[Outcome]) -> list[Ranking]:
    """Return a ranking for each pattern that two or more runs share; patterns that prune less come first, and what was
    distilled is ranked by itself.

    Args:
        outcomes: of pruned weights of one model, measured on the same windows.
        known: what all finished runs measured, the oldest first.
    """
    patterns: dict[str, list[Outcome]] = {}
    for outcome in sorted(outcomes, key=lambda outcome: outcome.sparsity):
        patterns.setdefault(outcome.league, []).append(outcome)
    return [_ranking(pattern, found, known) for pattern, found in patterns.items() if len(found) > 1]


def grouped(outcomes: Sequence[Outcome], known: Sequence[Outcome]) -> list[Group]:
    """Return the configurations of outcomes, the oldest run of each seed.

    Args:
        known: what all finished runs measured, the oldest first.
    """
    found = _by_configuration(outcomes, known).values()
    return [Group(tuple(sorted(by_seed(alike, []).values(), key=lambda outcome: outcome.made.seed))) for alike in found]


def _by_configuration(outcomes: Sequence[Outcome], known: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    age = {outcome.run: place for place, outcome in enumerate(known)}
    found: dict[str, list[Outcome]] = {}
    for outcome in sorted(outcomes, key=lambda outcome: age.get(outcome.run, len(age))):
        named = outcome.configuration
        if named not in found:  # the same windows may go by another name
            named = next((own for own, group in found.items() if any(map(outcome.repeats, group))), named)
        found.setdefault(named, []).append(outcome)
    return found


def _ranking(pattern: str, outcomes: list[Outcome], known: Sequence[Outcome]) -> Ranking:
    configurations = _by_configuration(outcomes, known)
    first = {configuration: by_seed(found, []) for configuration, found in configurations.items()}
    best, *others = sorted(grouped(outcomes, known), key=lambda group: group.perplexity)
    repetitions = [
        Repetition(later, earliest, claim([later], [earliest], known))
        for configuration, found in configurations.items()
        for later in found
        if (earliest := first[configuration][later.made.seed]) is not later
    ]
    return Ranking(pattern, [best, *others], [claim_between(best, other, known) for other in others], repetitions)


def claim_between(best: Group, other: Group, known: Sequence[Outcome]) -> Claim:
    """Return how one configuration compares to another.

    They are compared on the seeds that both have; on all of each where they share none.
    """
    shared = set(best.seeds) & set(other.seeds)
    mine, its = ([o for o in group.outcomes if not shared or o.made.seed in shared] for group in (best, other))
    return claim(mine, its, known)


def answer(ranking: Ranking, mark: Callable[[str], str] = str) -> list[str]:
    """Return a ranking in sentences.

    Args:
        mark: applied to every name, to set it in bold.
    """
    titles = [mark(title) for title in _titles(ranking.groups)]
    best, *others = ranking.groups
    sentences = []
    if others:
        first = words(ranking.claims[0], titles[0], titles[1])
        numbers = [format_perplexity(group.perplexity) for group in (best, others[0])]
        sentences.append(f"At {ranking.pattern}: {first} Perplexity {numbers[0]} against {numbers[1]}.")
    for verdict in (Verdict.BETTER, Verdict.WORSE, Verdict.UNDECIDED):  # worse, where few seeds are shared
        rest = [
            f"{title} ({short(found)})"
            for title, found in zip(titles[2:], ranking.claims[1:], strict=True)
            if found.verdict is verdict
        ]
        if rest:
            sentences.append(f"Against {listed(rest)} it is {verdict}.")
    for repetition in ranking.repetitions:
        pair = [mark(f"{name_of(o.made)} · {o.run[-6:]}") for o in (repetition.later, repetition.first)]
        sentences.append(words(repetition.claim, *pair))
    if not others and len(best.seeds) > 1:
        sentences.append(f"{titles[0]} is one configuration: its seeds are not ranked against each other.")
    return sentences


def _titles(groups: list[Group]) -> list[str]:
    """Return a name for each group, with its seeds where these are several or not the same in all."""
    first = [group.outcomes[0] for group in groups]
    names = called({outcome.run: replace(outcome.config, seed=0) for outcome in first})
    seeds = [group.seeds for group in groups]
    if all(len(own) == 1 and own == seeds[0] for own in seeds):
        return [names[outcome.run] for outcome in first]
    return [f"{names[outcome.run]} ({_seeds(own)})" for outcome, own in zip(first, seeds, strict=True)]


def _seeds(seeds: list[int]) -> str:
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"mean over seeds {listed(list(map(str, seeds)))}"
