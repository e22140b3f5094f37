"""Answer the questions of the Walk: the right number or option, a sentence with it, and a picture.

Nothing is known in advance: every number is read from the runs, so other examples give other answers.
"""

import math
from dataclasses import dataclass

import pandas as pd

from sds_core.comparison.claims import Claim, Verdict, words
from sds_core.comparison.compare import Row
from sds_core.figures.layer import centres
from sds_core.figures.style import per_cent
from sds_core.lesson.evidence import NAMES, RUNS, Evidence, name_of_layer
from sds_core.lesson.pictures import Bar, Bars, Distribution, MaskCorner, corner, distribution, sketches
from sds_core.pruning.methods import METHODS
from sds_core.pruning.perplexity import format_perplexity, format_ratio
from sds_core.pruning.titles import BASE, pruner_title


@dataclass(frozen=True)
class Finding:
    """The answer to one question."""

    said: str
    """The answer in a sentence, with its number."""
    details: str
    """How it was measured, and related numbers: for the hand-out."""
    picture: Bars | Distribution | MaskCorner
    value: float | None = None
    """Where a number was asked for: a share in per cent, or a perplexity."""
    right: int | None = None
    """Where options were offered: the place of the right one, from 0."""


def near_zero(found: Evidence) -> Finding:
    """Find the share of tiny weights in the dense model."""
    share = found.share("base-wanda", "near_zero", "dense")
    return Finding(
        f"{per_cent(share)} of all weights are that small.",
        "The “usual size” is the standard deviation of a layer’s weights.",
        distribution(name_of_layer(found.layer("base-wanda")), found.stage("base-wanda", "dense")),
        value=100 * share,
    )


def removed(found: Evidence) -> Finding:
    """Find how many of the pruned weights were not small."""
    layer = found.layer("base-wanda")
    share = larger_half(layer)
    picture = distribution(name_of_layer(layer), *(found.stage("base-wanda", stage) for stage in ("dense", "sparse")))
    right = (1, 2, 0)[between(share, 0.01, 0.4)]
    shape = ("A bell, half as high", "A bell with a straight gap", "Two humps with slanting sides")[right]
    return Finding(
        f"{shape}: {per_cent(share, 0)} of the pruned weights were from the larger half.",
        f"Counted in one layer, {picture.layer}.",
        Distribution(picture.layer, picture.dense, picture.after, picture.zeros, sketches(picture.dense)),
        right=right,
    )


def cost(found: Evidence) -> Finding:
    """Find the perplexity after Wanda, beside the dense model's."""
    (row,) = found.rows("base-wanda")
    stats = found.layer_stats["base-wanda"]
    sparse = stats[(stats["stage"] == "sparse") & (stats["round"] == 0)]
    error = float(sparse["loss"].median())
    dense = row.against["dense"].claim
    return Finding(
        f"{format_perplexity(row.perplexity)}: {dense.ratio:.2f} times as high.",
        f"The dense model’s is {format_perplexity(row.outcome.dense.value)}, the ratio {times(dense)}. (Here and below "
        "± joins the error over windows and the deviation over seeds: about as much as chance moves such a number.) "
        f"The typical (median) layer’s output error is {per_cent(error)} of its output’s energy: the difference is "
        f"{per_cent(math.sqrt(error), 0)} of its size.",
        Bars((dense_bar(row),), (bar(row, "half of each layer zero"),)),
        value=row.perplexity,
    )


def repair(found: Evidence) -> Finding:
    """Find SparseGPT's perplexity, beside Wanda's."""
    wanda, sparsegpt = found.rows("base-wanda", "base-sparsegpt")
    gain = found.claim(sparsegpt, wanda)
    side = "lower" if gain.log_ratio < 0 else "higher"
    how = "with as many zeros" if gain.verdict in (Verdict.BETTER, Verdict.WORSE) else "but not clearly so"
    return Finding(
        f"{format_perplexity(sparsegpt.perplexity)}: {side}, {how}.",
        f"That is {times(gain)} times Wanda’s {format_perplexity(wanda.perplexity)}.",
        Bars((dense_bar(wanda), bar(wanda, "kept weights as they were")), (bar(sparsegpt, "kept weights adjusted"),)),
        value=sparsegpt.perplexity,
    )


def filled_in(found: Evidence) -> Finding:
    """Find the share of the mask that one re-dense step changes."""
    changed = found.share("sds-admm-wanda", "mask_changed", "pruned", 1)
    stats = found.layer_stats["sds-wanda"]
    steps = int(stats["round"].max())
    plain = found.share("sds-wanda", "mask_changed", "pruned", steps)
    first = found.stage("sds-admm-wanda", "pruned", 1)
    return Finding(
        f"{per_cent(changed)} of the mask is new.",
        f"It is round 1 of SDS-ADMM, the run in question 6. After the {steps} gradient steps of SDS it is "
        f"{per_cent(plain)}.",
        corner(name_of_layer(found.layer("sds-admm-wanda")), first["crop"], int(first["columns"])),
        value=100 * changed,
    )


def dual(found: Evidence) -> Finding:
    """Find the share of the mask that rounds with a dual variable change."""
    changed = found.share("sds-admm-wanda", "mask_changed", "final")
    first = found.share("sds-admm-wanda", "mask_changed", "pruned", 1)
    last = found.stage("sds-admm-wanda", "final")
    return Finding(
        f"{per_cent(changed)} of the final mask is new.",
        f"While the memory was empty, in round 1, it was {per_cent(first)}.",
        corner(name_of_layer(found.layer("sds-admm-wanda")), last["crop"], int(last["columns"])),
        value=100 * changed,
    )


def last_round(found: Evidence) -> Finding:
    """Find the share of weights near zero once the rounds are over."""
    name = "sds-admm-wanda"
    share, energy = (found.share(name, column, "redense") for column in ("near_zero", "prune_energy"))
    before = found.share(name, "prune_energy", "dense")
    return Finding(
        f"{per_cent(share)} of all weights are near zero.",
        f"Pruning now removes {per_cent(energy, 2)} of the energy of the layers’ outputs; in the untouched model it "
        f"would have removed {per_cent(before, 2)}.",
        distribution(name_of_layer(found.layer(name)), *(found.stage(name, stage) for stage in ("dense", "redense"))),
        value=100 * share,
    )


def best(found: Evidence) -> Finding:
    """Find the example with the lowest perplexity, and whether it is clearly the best."""
    rows = found.rows(*RUNS)
    first, second, *_ = sorted(rows, key=lambda row: row.perplexity)
    names = {row.run: NAMES[name] for row, name in zip(rows, RUNS, strict=True)}
    ahead = found.claim(first, second)
    clear = ahead.verdict is Verdict.BETTER
    versus = ""
    if base := first.against.get("base"):
        versus = f" Compared with the pruner that it starts from, its perplexity is {times(base.claim)} times as high."
    lowest = f"{names[first.run]}: {format_perplexity(first.perplexity)}."
    return Finding(
        lowest if clear else "The best two are too close to call.",
        f"{'' if clear else f'The lowest is {lowest} '}The dense model’s is "
        f"{format_perplexity(first.outcome.dense.value)}; the next, of {names[second.run]}, is "
        f"{format_perplexity(second.perplexity)}. {words(ahead, names[first.run], names[second.run])}{versus}",
        Bars((), tuple(map(bar, rows))),
        right=rows.index(first) if clear else len(rows),
    )


def bar(row: Row, of: str = "") -> Bar:
    """Return a run as a bar."""
    config, dense = row.config, row.against["dense"].claim
    alone = config.method == BASE
    return Bar(
        kind=config.pruner if alone else config.method,
        name=pruner_title(config.pruner) if alone else METHODS[config.method].title,
        of=of or ("" if alone else f"from {pruner_title(config.pruner)}"),
        perplexity=row.perplexity,
        ratio=dense.ratio,
        error=dense.ratio * dense.window_error,
    )


def dense_bar(row: Row) -> Bar:
    """Return the dense model as a bar."""
    return Bar("dense", "dense", "no zeros", row.outcome.dense.value)


def times(claim: Claim) -> str:
    """Return a ratio of perplexities with its error from windows and seeds together."""
    return format_ratio(claim.log_ratio, claim.error).replace("± ", "±\N{NO-BREAK SPACE}")


def between(value: float, *edges: float) -> int:
    """Return the place of a value among ranges that meet at these edges."""
    return sum(value >= edge for edge in edges)


def larger_half(layer: pd.DataFrame) -> float:
    """Return the share of the pruned weights that were larger than the median, to the width of a histogram's bin.

    Args:
        layer: the statistics of a layer whose pruner leaves the kept weights as they are.
    """
    rows = {stage: layer[layer["stage"] == stage].iloc[-1] for stage in ("dense", "sparse")}
    sizes = pd.Series(centres()).abs().round(6)
    dense, sparse = (pd.Series(list(row["counts"])).groupby(sizes).sum() for row in rows.values())
    pruned = dense - sparse
    median = dense.index[int((dense.cumsum() < dense.sum() / 2).sum())]
    outside = sum(int(rows["dense"][end] - rows["sparse"][end]) for end in ("below", "above"))
    return float((pruned[pruned.index > median].sum() + outside) / (pruned.sum() + outside))
