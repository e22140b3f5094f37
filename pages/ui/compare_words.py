"""The words of Compare: distinct names, and a claim as the page's answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pages.ui.pictures.compare import Answer
from sds_core.comparison.claims import Claim, Verdict, numbers
from sds_core.comparison.ranking import Group
from sds_core.pruning.titles import BASE, CHECKPOINT
from sds_core.runs.names import SEPARATOR, parts_called

ELSEWHERE = "Another text or another model may decide otherwise."


def key_of(group: Group) -> str:
    """Return a configuration's key: the id of its first run."""
    return group.outcomes[0].run


def names(groups: Sequence[Group]) -> dict[str, tuple[str, str | None]]:
    """Return a name for each configuration, and what it starts from; no two are equal."""
    configs = {key_of(group): replace(group.outcomes[0].config, seed=0) for group in groups}
    found: dict[str, tuple[str, str | None]] = {}
    methods = {key_of(group): group.outcomes[0].made.method for group in groups}
    for key, (*parts, last) in parts_called(configs).items():
        if last == key[-6:]:  # only its id is distinct: its experiment or title says more
            last = configs[key].experiment or configs[key].title or last
        first, *rest = *parts, last
        alone = methods[key] in (BASE, CHECKPOINT)
        found[key] = (SEPARATOR.join([first, *rest]), None) if alone else (first, SEPARATOR.join(rest))
    return found


def answer(claim: Claim, name: str, reference: str, next_best: bool) -> Answer:
    """Return a claim as the page's answer.

    Args:
        claim: about the configuration called `name`, compared to the one called `reference`.
        next_best: whether the first is the best of all, and the reference comes next.
    """
    ratio = f"perplexity × {claim.ratio:.2f}"
    measured = f"ratio {numbers(claim)}"
    match claim.verdict:
        case Verdict.BETTER | Verdict.WORSE:
            side = "better" if claim.verdict is Verdict.BETTER else "worse"
            behind = ", the next best" if next_best else ""
            detail = f"beyond two standard errors of both together: {measured}. {ELSEWHERE}"
            return Answer(f"{name} is {side} than {reference}{behind}: {ratio}.", detail, "Clearly,")
        case Verdict.NOISE:
            headline = f"{name} and {reference} are the same configuration: {ratio}."
            return Answer(headline, f"{measured}, made by {claim.reason}.", "The noise floor:")
    side = ("lowest" if next_best else "lower") if claim.log_ratio < 0 else "higher"  # higher, on the seeds both have
    headline = f"{name} has the {side} perplexity, × {claim.ratio:.2f} of {reference}, but that may be chance."
    if claim.seed_error is None:
        detail = f"for one seed says little: {measured}. Run both with other seeds to learn how far a seed moves it."
    else:
        detail = f"within two standard errors of both together: {measured}."
    return Answer(headline, detail, "Undecided,")
