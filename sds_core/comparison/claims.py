"""Decide whether one pruned model is better than another, given the errors over evaluation windows and seeds.

A claim rests on a paired log ratio of perplexities. Its window error is the paired standard error over windows. Its
seed error is the standard deviation of the log ratio over calibration seeds: how far the next seed would move it. It is
not divided by the root of the number of seeds, and widened where these are two or three, so that two of it are as wide
as Student's t demands for their mean. A difference counts only beyond two errors of both together. For a single run,
judged by the deviation of three seeds, that is wrong in about one case of ten, not of twenty.
"""

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from sds_core.comparison.study import StudySpread
from sds_core.pruning.perplexity import Comparison, bounded_exp, format_ratio, ratio_parts

WIDENED = {2: 4.5, 3: 1.24}
"""Widening of a standard deviation over n seeds: Student's t with n − 1 degrees of freedom, 12.7 and 4.3, over 2√n."""


class Verdict(StrEnum):
    """The outcome of a claim."""

    BETTER = "clearly better"
    WORSE = "clearly worse"
    UNDECIDED = "undecided"
    NOISE = "noise floor"
    """Both runs have the same configuration: rounding or the seed makes the difference, not a method."""
    INCOMPARABLE = "not comparable"


@dataclass(frozen=True, kw_only=True)
class Claim:
    """How one pruned model compares to another."""

    log_ratio: float
    """Log of the ratio of perplexities; negative is better, NaN where nothing can be paired."""
    window_error: float
    """Paired standard error of `log_ratio` over evaluation windows."""
    seed_error: float | None = None
    """Standard deviation of `log_ratio` over calibration seeds; None where it is unknown."""
    seed_source: str = ""
    """Where `seed_error` comes from, in words."""
    verdict: Verdict
    reason: str = ""
    """The cause of the noise floor, or why the two are not comparable."""

    @property
    def ratio(self) -> float:
        """Ratio of perplexities; below 1 is better."""
        return bounded_exp(self.log_ratio)

    @property
    def error(self) -> float:
        """Standard error of `log_ratio` from all sources that are known."""
        return math.hypot(self.window_error, self.seed_error or 0.0)

    @property
    def interval(self) -> tuple[float, float]:
        """The ratio two standard errors below and above."""
        return Comparison(self.log_ratio, self.error).interval


def judge(paired: Comparison, seed_error: float | None, seed_source: str) -> Claim:
    """The claim that a paired comparison of two different configurations supports."""
    error = math.inf if seed_error is None else math.hypot(paired.error, seed_error)
    verdict = Verdict.UNDECIDED
    if Comparison(paired.log_ratio, error).sure:
        verdict = Verdict.BETTER if paired.log_ratio < 0 else Verdict.WORSE
    return Claim(
        log_ratio=paired.log_ratio,
        window_error=paired.error,
        seed_error=seed_error,
        seed_source=seed_source,
        verdict=verdict,
    )


def noise_floor(paired: Comparison, reason: str) -> Claim:
    """The claim about one configuration that was run twice."""
    return Claim(log_ratio=paired.log_ratio, window_error=paired.error, verdict=Verdict.NOISE, reason=reason)


def incomparable(reason: str) -> Claim:
    """The claim about two models that must not be ranked."""
    return Claim(log_ratio=math.nan, window_error=math.nan, verdict=Verdict.INCOMPARABLE, reason=reason)


def seed_error(log_ratios: Mapping[int, float], study: StudySpread | None) -> tuple[float | None, str]:
    """Standard deviation of a log ratio over calibration seeds, and its source in words.

    Args:
        log_ratios: by seed, from the runs at hand.
        study: the same in the shipped study; None where the study does not cover them.
    """
    own = statistics.stdev(log_ratios.values()) if len(log_ratios) > 1 else 0.0
    seeds = f"seeds {listed(sorted(map(str, log_ratios), key=int))}"
    if len(log_ratios) > 2:
        return own * WIDENED.get(len(log_ratios), 1.0), seeds
    if study is not None and study.value >= own:
        return study
    if len(log_ratios) == 2:
        return own * (1.0 if study is not None else WIDENED[2]), seeds
    return None, ""


def apart(mine: tuple[float | None, str], its: tuple[float | None, str]) -> tuple[float | None, str]:
    """Seed error of a ratio whose sides have different seeds, and its source, from those of each to the dense model.

    Nothing that the seeds do is common to both sides, so nothing cancels.
    """
    if mine[0] is None or its[0] is None:
        return None, ""
    return math.hypot(mine[0], its[0]), "; ".join(dict.fromkeys((mine[1], its[1])))


def short(claim: Claim) -> str:
    """A claim's ratio with its window and its seed error, for tables: 0.467 ± 0.007 ± 0.016."""
    match claim.verdict:
        case Verdict.INCOMPARABLE:
            return "–"
        case Verdict.NOISE:
            return format_ratio(claim.log_ratio, claim.window_error)
        case _:
            return format_ratio(claim.log_ratio, claim.window_error, claim.seed_error)


def numbers(claim: Claim, units: str = "windows") -> str:
    """A claim's ratio with its errors, each with its source."""
    paired = f"{format_ratio(claim.log_ratio, claim.window_error)} ({units})"
    if claim.verdict is Verdict.NOISE:
        return paired
    if claim.seed_error is None:
        return f"{paired}, error over seeds unknown"
    *_, seeds = ratio_parts(claim.log_ratio, claim.seed_error)
    return f"{paired} ± {seeds} ({claim.seed_source})"


def words(claim: Claim, name: str, reference: str, units: str = "windows") -> str:
    """A claim as a sentence, made of what `statement` returns."""
    said, why = statement(claim, name, reference, units)
    return f"{said}: {why}." if why else f"{said}."


def statement(claim: Claim, name: str, reference: str, units: str = "windows") -> tuple[str, str]:
    """What a claim says, and on what it rests; empty where there is no more to say.

    Args:
        claim: about the model called `name`, compared to the one called `reference`.
        name, reference: inserted as given.
        units: the units over which `window_error` is a standard error.
    """
    ratio = f"ratio {numbers(claim, units)}"
    doubt = f"It is undecided whether {name} or {reference} is better"
    same = f"{name} and {reference} are the same configuration"
    match claim.verdict:
        case Verdict.BETTER | Verdict.WORSE:
            return (
                f"{name} is {claim.verdict} than {reference}",
                f"{ratio}, beyond two standard errors of both together",
            )
        case Verdict.UNDECIDED if math.isnan(claim.window_error):
            return doubt, f"{ratio}: with one of the {units} there is no error. Add more of them"
        case Verdict.UNDECIDED if claim.seed_error is None:
            return doubt, f"{ratio}. Run both with other seeds to learn how far a seed moves it"
        case Verdict.UNDECIDED:
            return doubt, f"{ratio}, within two standard errors of both together"
        case Verdict.NOISE if claim.log_ratio == claim.window_error == 0:
            return f"{same} and measured exactly the same", ""
        case Verdict.NOISE:
            return same, f"{ratio} is the noise floor, made by {claim.reason}"
        case Verdict.INCOMPARABLE:
            return f"{name} is not compared to {reference}", claim.reason


def listed(items: list[str]) -> str:
    """Join items as in a sentence: a, b and c."""
    return " and ".join(filter(None, [", ".join(items[:-1]), *items[-1:]]))
