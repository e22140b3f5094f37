"""The numbers of Compare's picture: configurations with their seeds, all pairs of them, and the answer in words."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

from pages.ui.compare_words import answer, key_of, names
from pages.ui.model_layers import Model
from pages.ui.pictures import compare
from pages.ui.pictures.wire import pack_values
from sds_core.comparison.claims import Claim, Verdict
from sds_core.comparison.outcomes import Outcome
from sds_core.comparison.ranking import Group, claim_between
from sds_core.figures.palette import palette
from sds_core.pruning.perplexity import Comparison, Perplexity, bounded_exp, mean_over_runs
from sds_core.pruning.perplexity import compare as compared
from sds_core.runs.layer_numbers import block_files, read_block
from sds_core.runs.names import pattern_of
from sds_core.runs.run_folder import open_run

MOST = 8
"""Configurations in view at once."""
OTHER_PATTERN = "prunes differently: not ranked"
DISTILLED = "one-shot and distilled models are not ranked together"
ONE_WINDOW = "one window: no error is known"
NO_MAP = "One of the two has no record of its layers."
AS_BLOCKS = "Whole blocks were adjusted, so single layers may be worse to the benefit of their block."


Pairs = dict[str, dict[str, tuple[compare.Pair, Claim]]]
"""By run and reference."""
Unpaired = dict[str, dict[str, str]]
"""Why there is no pair, in the same form."""


@dataclass(frozen=True)
class Asked:
    """The selection in the address; keys that do not exist are ignored."""

    runs: tuple[str, ...]
    ref: str = ""
    a: str = ""
    layer: str = ""


class Numbers:
    """Turns the chosen configurations into the picture's numbers."""

    def __init__(self, offered: Sequence[Group], known: Sequence[Outcome]):
        """
        Args:
            offered: configurations that can be paired, one at least.
            known: what all finished runs measured, the oldest first.
        """
        self.offered, self.known = offered, known
        self.names = names(offered)
        self.colors = dict(
            zip(map(key_of, offered), palette().assign(group.outcomes[0].kind for group in offered), strict=True)
        )

    def read(self, asked: Asked, present: bool = False) -> compare.Compare:
        """Return the picture's numbers.

        Raises:
            SDSError: a record is broken.
        """
        chosen = [group for group in self.offered if key_of(group) in asked.runs][:MOST]
        rows = sorted(chosen, key=lambda group: group.perplexity)
        errors = {key_of(group): layer_errors(group) for group in rows}
        model = _model_of(errors.values())
        every = [model.at(at) for at in range(model.blocks * len(model.linears))]
        maps = {key: list(map(found.get, every)) if found else None for key, found in errors.items()}
        pairs, unpaired = self._pairs(rows, maps)
        a, ref = _pair_in_view(rows, asked)
        first = rows[0].outcomes[0]
        at = model.number(asked.layer)
        return compare.Compare(
            view=compare.View(tuple(map(key_of, chosen)), asked.ref, asked.a, -1 if at is None else at),
            runs=tuple(self._run(group, maps.get(key_of(group))) for group in self.offered),
            rows=tuple(map(key_of, rows)),
            ref=key_of(ref),
            a=key_of(a),
            pairs={one: {other: pair for other, (pair, _) in found.items()} for one, found in pairs.items()},
            unpaired=unpaired,
            dense=compare.Dense(first.dense.value, pack_values(first.dense.losses)),
            answer=self._answer(rows, a, ref, pairs, unpaired),
            about=_about(rows, len(asked.runs)),
            windows=len(first.measured.losses),
            blocks=model.blocks,
            linears=model.linears,
            most=MOST,
            no_map=NO_MAP,
            map_note=AS_BLOCKS if _as_blocks(a) or _as_blocks(ref) else None,
            present=present,
        )

    def _run(self, group: Group, errors: list[float | None] | None) -> compare.Run:
        mean = mean_over_runs([one.measured for one in group.outcomes])
        dense = mean_over_runs([one.dense for one in group.outcomes])
        name, origin = self.names[key_of(group)]
        return compare.Run(
            key=key_of(group),
            name=name,
            color=self.colors[key_of(group)],
            value=_finite(mean),
            ratio=bounded_exp(compared(mean, dense).log_ratio),
            losses=pack_values(mean.losses),
            origin=origin,
            seeds=tuple(_finite(one.measured) for one in group.outcomes) if len(group.outcomes) > 1 else None,
            map=pack_values(errors) if errors else None,
        )

    def _pairs(self, rows: Sequence[Group], maps: dict[str, list[float | None] | None]) -> tuple[Pairs, Unpaired]:
        pairs, unpaired = Pairs(), Unpaired()
        for one, other in permutations(rows, 2):
            claim = claim_between(one, other, self.known)
            if reason := _unpaired(one.outcomes[0], other.outcomes[0], claim):
                unpaired.setdefault(key_of(one), {})[key_of(other)] = reason
                continue
            mine, its = maps[key_of(one)], maps[key_of(other)]
            lower = _layers_lower(mine, its) if mine and its else None
            pairs.setdefault(key_of(one), {})[key_of(other)] = (_pair(one, other, claim, lower), claim)
        return pairs, unpaired

    def _answer(self, rows: Sequence[Group], a: Group, ref: Group, pairs: Pairs, unpaired: Unpaired) -> compare.Answer:
        if len(rows) < 2:
            return compare.Answer(f"{self._name(a)} is alone here.", "Choose another to see which is better.")
        found = pairs.get(key_of(a), {}).get(key_of(ref))
        if found is None:
            detail = f"{self._name(ref)}: {unpaired[key_of(a)][key_of(ref)]}."
            return compare.Answer(f"{self._name(a)} is not compared with {self._name(ref)}.", detail)
        claim = found[1]
        alike = [group for group in rows if _pattern(group) == _pattern(a)]
        return answer(claim, self._name(a), self._name(ref), next_best=[a, ref] == alike[:2])

    def _name(self, group: Group) -> str:
        name, origin = self.names[key_of(group)]
        twice = sum(other == name for other, _ in self.names.values()) > 1
        return f"{name} from {origin}" if origin and twice else name


def layer_errors(group: Group) -> dict[tuple[int, str], float | None]:
    """Return the output errors of a configuration's first run by block and linear; empty where none is recorded.

    Raises:
        SDSError: the record is broken.
    """
    first = group.outcomes[0]
    found: dict[tuple[int, str], float | None] = {}
    for block, paths in sorted(block_files(open_run(first.run).folder).items()):
        for path in paths:
            layers = read_block(path).items()
            found |= {(block, linear): one.loss for (linear, stage, n), one in layers if (stage, n) == (first.stage, 0)}
    return found


def _model_of(recorded: Iterable[Mapping[tuple[int, str], object]]) -> Model:
    """Return the layers that some run has recorded: runs may leave out different ones."""
    layers = [layer for one in sorted(recorded, key=len, reverse=True) for layer in one]
    return Model(1 + max((block for block, _ in layers), default=-1), tuple(dict.fromkeys(one for _, one in layers)))


def _pair_in_view(rows: Sequence[Group], asked: Asked) -> tuple[Group, Group]:
    """Return the row in view and the reference: those in the address, else the best and next best of one pattern."""
    of = {key_of(group): group for group in rows}
    best = next((g for g in rows if sum(_pattern(o) == _pattern(g) for o in rows) > 1), rows[0])
    alike = [group for group in rows if _pattern(group) == _pattern(best)]
    following = alike[1] if len(alike) > 1 else rows[-1]
    ref = of.get(asked.ref, following)
    a = of.get(asked.a, best)
    if a is ref:
        a = next((group for group in alike if group is not ref), rows[0])
    return a, ref


def _pair(one: Group, other: Group, claim: Claim, layers_lower: int | None) -> compare.Pair:
    mine, its = (mean_over_runs([o.measured for o in group.outcomes]) for group in (one, other))
    loose = math.hypot(unpaired_error(mine, its), claim.seed_error or 0.0)
    low, high = claim.interval
    loose_low, loose_high = Comparison(claim.log_ratio, loose).interval
    beyond = Comparison(claim.log_ratio, claim.error).sure
    return compare.Pair(
        log=claim.log_ratio,
        error=claim.error,
        ratio=claim.ratio,
        low=low,
        high=high,
        sure=claim.verdict in (Verdict.BETTER, Verdict.WORSE),
        doubt="undecided: seeds unknown" if claim.seed_error is None and beyond else None,
        lower=sum(a < b for a, b in zip(mine.losses, its.losses, strict=True)),
        loose_error=loose,
        loose_low=loose_low,
        loose_high=loose_high,
        window_error=claim.window_error if claim.seed_error else None,
        layers_lower=layers_lower,
    )


def unpaired_error(one: Perplexity, other: Perplexity) -> float:
    """Return the standard error of a log ratio of perplexities as if the models had read different windows."""
    count = len(one.losses)
    if count < 2:
        return math.nan
    return math.sqrt((statistics.variance(one.losses) + statistics.variance(other.losses)) / count)


def _layers_lower(mine: Sequence[float | None], its: Sequence[float | None]) -> int:
    return sum(a is not None and b is not None and a < b for a, b in zip(mine, its, strict=True))


def _unpaired(one: Outcome, other: Outcome, claim: Claim) -> str | None:
    """Return why one configuration is not compared with another; None if it is."""
    if pattern_of(one.made) != pattern_of(other.made):
        return OTHER_PATTERN
    if one.league != other.league:
        return DISTILLED
    if claim.verdict is Verdict.INCOMPARABLE:
        return claim.reason
    return ONE_WINDOW if math.isnan(claim.error) else None


def _pattern(group: Group) -> str:
    return group.outcomes[0].league


def _as_blocks(group: Group) -> bool:
    return bool(group.outcomes[0].made.reconstruction)


def _finite(measured: Perplexity) -> float:
    """Return a perplexity that JSON can hold, however far the model has exploded."""
    return bounded_exp(statistics.fmean(measured.losses))


def _about(rows: Sequence[Group], chosen: int) -> str:
    outcomes = [group.outcomes[0] for group in rows]
    patterns = ", ".join(dict.fromkeys(pattern_of(one.config) for one in outcomes))
    about = f"{patterns} · {outcomes[0].config.evaluation}, {len(outcomes[0].measured.losses)} windows"
    return about if chosen <= len(rows) else f"{about} · {len(rows)} of {chosen} configurations"
