"""The answers to the questions of the Walk: which option is right, a sentence with numbers, a figure.

Nothing is known in advance: every number is read from the runs, so other examples give other answers.
"""

from dataclasses import dataclass

import pandas as pd

from sds_core.figures.change import before_and_after, masks
from sds_core.figures.compare import forest
from sds_core.figures.error_map import error_map
from sds_core.figures.layer import centres, player, ridges
from sds_core.figures.style import Figure, per_cent
from sds_core.lesson.evidence import NAMES, RUNS, Evidence, name_of_layer
from sds_core.lesson.pictures import beside_dense, corner, from_its_end, low, near_zero_marked
from sds_core.pruning.perplexity import format_perplexity, format_ratio
from sds_core.runs.claims import Claim, Verdict, words


@dataclass(frozen=True)
class Finding:
    """The answer to one question."""

    right: int
    """Place of the right option, from 0."""
    said: str
    """A sentence or two with the numbers."""
    figure: Figure
    alt: str
    """The figure in words, for those who cannot see it."""
    caption: str
    """How to read the figure."""


def near_zero(found: Evidence) -> Finding:
    """The share of tiny weights in the dense model."""
    share = found.share("base-wanda", "near_zero", "dense")
    layer = found.layer("base-wanda")
    return Finding(
        between(share, 0.02, 0.2),
        f"{per_cent(share)} of all weights are that small. The “usual size” is the standard deviation of a layer’s "
        "weights.",
        near_zero_marked(ridges(layer[layer["stage"] == "dense"])),
        "Histogram of the dense weights of one layer: a bell around zero, with a narrow band marked in its middle",
        f"One layer from the middle of the model ({name_of_layer(layer)}): the higher the curve, the more weights have "
        "that value. Orange: the tiny ones. “Dense” means that nothing is pruned yet.",
    )


def removed(found: Evidence) -> Finding:
    """The share of the pruned weights that were not small."""
    layer = found.layer("base-wanda")
    share = larger_half(layer)
    return Finding(
        between(share, 0.01, 0.1),
        f"In this layer, {per_cent(share)} of the pruned weights came from the larger half.",
        ridges(layer),
        "Histograms of one layer before and after Wanda: a gap around zero with slanting sides",
        f"The same layer ({name_of_layer(layer)}) before and after. Zeros are counted in the label, not drawn. If "
        "simply the smaller half had gone, the gap would have upright walls.",
    )


def cost(found: Evidence) -> Finding:
    """The perplexity after Wanda, relative to the dense model's."""
    (row,) = found.rows("base-wanda")
    stats = found.layer_stats["base-wanda"]
    sparse = stats[(stats["stage"] == "sparse") & (stats["round"] == 0)].sort_values("block", kind="stable")
    dense = row.against["dense"].claim
    return Finding(
        between(dense.ratio, 2, 5),
        f"Perplexity rises from {format_perplexity(row.outcome.dense.value)} to {format_perplexity(row.perplexity)}, "
        f"which is {times(dense)} times as high. (Here and below, ± is one standard error: about as much as chance "
        "moves such a number.)",
        low(error_map(sparse)),
        "Output error of every layer after Wanda: a row per block, a column for each of its layers",
        f"How far off the output of every layer is: {sparse['block'].nunique()} blocks, the first at the top, with "
        f"{sparse['linear'].nunique()} layers each. The typical (median) layer is {per_cent(sparse['loss'].median())} "
        "off.",
    )


def repair(found: Evidence) -> Finding:
    """SparseGPT's perplexity, relative to Wanda's."""
    wanda, sparsegpt = found.rows("base-wanda", "base-sparsegpt")
    gain = found.claim(sparsegpt, wanda)
    return Finding(
        {Verdict.WORSE: 0, Verdict.BETTER: 2}.get(gain.verdict, 1),
        f"SparseGPT’s perplexity is {format_perplexity(sparsegpt.perplexity)}, Wanda’s "
        f"{format_perplexity(wanda.perplexity)}: it is {times(gain)} times Wanda’s, with as many zeros.",
        low(before_and_after(list(found.stage("base-sparsegpt", "sparse")["joint"]), "sparse")),
        "Weights before and after SparseGPT: most have moved off the diagonal",
        f"The kept weights of the same layer ({name_of_layer(found.layer('base-sparsegpt'))}): old value across, new "
        "value upwards; the darker, the more weights. On the dotted line nothing has changed.",
    )


def filled_in(found: Evidence) -> Finding:
    """The share of the mask that one re-dense step changes."""
    changed = found.share("sds-admm-wanda", "mask_changed", "pruned", 1)
    return Finding(
        between(changed, 0.02, 0.1),
        f"{per_cent(changed)} of the mask is new.",
        low(before_and_after(list(found.stage("sds-wanda", "redense")["joint"]), "redense")),
        "Weights before and after filling in: a cloud along the diagonal, and a flatter one of weights that came back",
        f"The same layer ({name_of_layer(found.layer('sds-wanda'))}), filled in (“re-dense”). Weights that were kept "
        "lie near the dotted line. Those that were zero form the flat cloud: they are back, but smaller than before. "
        "The number comes from round 1 of the run in question 6, the picture from SDS as in the paper.",
    )


def dual(found: Evidence) -> Finding:
    """The share of the mask that rounds with a dual variable change."""
    changed = found.share("sds-admm-wanda", "mask_changed", "final")
    first = found.share("sds-admm-wanda", "mask_changed", "pruned", 1)
    last = found.stage("sds-admm-wanda", "final")
    pattern = found.runs["sds-admm-wanda"].config.parsed_pattern()
    return Finding(
        between(changed, 0.02, 0.05),
        f"In the end, {per_cent(changed)} of the mask is new; while the memory was empty, it was {per_cent(first)}.",
        low(masks(*corner(list(last["crop"]), int(last["columns"])), pattern)),
        "A corner of the mask: which weights both prunes keep, which are lost, which have returned",
        f"A corner of the same layer ({name_of_layer(found.layer('sds-admm-wanda'))}) at the first and the last prune, "
        "a square per weight. Blue: pruned at first, kept in the end. Orange: the other way round.",
    )


def last_round(found: Evidence) -> Finding:
    """The share of weights near zero once the rounds are over."""
    name = "sds-admm-wanda"
    share, energy = (found.share(name, column, "redense") for column in ("near_zero", "prune_energy"))
    before = found.share(name, "prune_energy", "dense")
    return Finding(
        between(share, 0.2, 0.4),
        f"{per_cent(share)} of all weights are near zero. Pruning now removes {per_cent(energy, 2)} of the energy of "
        f"the layers’ outputs; in the untouched model it would have removed {per_cent(before, 2)}.",
        from_its_end(player(found.layer(name))),
        "Histograms of the re-dense weights, and of what their prune keeps: the last round, and on ▶ every round",
        f"The same layer ({name_of_layer(found.layer(name))}) after the last round; ▶ shows how it got there. Blue: "
        "filled in (re-dense). Orange: what its prune keeps, in the end the same except for the peak. Grey: before any "
        "pruning.",
    )


def best(found: Evidence) -> Finding:
    """The example with the lowest perplexity, and whether that is sure."""
    rows = found.rows(*RUNS)
    first, second, *_ = sorted(rows, key=lambda row: row.perplexity)
    names = {row.run: NAMES[name] for row, name in zip(rows, RUNS, strict=True)}
    ahead = found.claim(first, second)
    sure = ahead.verdict is Verdict.BETTER
    whose = "" if sure else f", of {names[first.run]}"  # else the right option has just named it
    versus = ""
    if base := first.against.get("base"):
        versus = f" Compared with the pruner that it starts from, its perplexity is {times(base.claim)} times as high."
    figure = forest(rows, names, "dense")
    assert figure is not None, "every run is paired with its dense model"
    return Finding(
        rows.index(first) if sure else len(rows),
        f"The lowest perplexity is {format_perplexity(first.perplexity)}{whose} (dense: "
        f"{format_perplexity(first.outcome.dense.value)}); the next, of {names[second.run]}, is "
        f"{format_perplexity(second.perplexity)}. {words(ahead, names[first.run], names[second.run])}{versus}",
        beside_dense(figure),
        "Each run’s perplexity as a multiple of the dense model’s, with its interval",
        "Further left is better; 1 would be no loss at all. The bars, in brackets next to the names, reach two "
        "standard errors to either side, over windows and seeds together.",
    )


def times(one: Claim) -> str:
    """A ratio of perplexities with its standard error from windows and seeds together."""
    return format_ratio(one.log_ratio, one.error).replace("± ", "±\N{NO-BREAK SPACE}")


def between(value: float, *edges: float) -> int:
    """The place of a value among ranges that meet at these edges."""
    return sum(value >= edge for edge in edges)


def larger_half(layer: pd.DataFrame) -> float:
    """Share of the pruned weights that were larger than the median weight, to the width of a histogram's bin.

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
