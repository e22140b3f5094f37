"""What the examples answer to each question of the Walk: which option is right, a sentence with numbers, a picture.

Nothing here is known beforehand: every number is read from the runs, so other examples give other answers.
"""

from dataclasses import dataclass

import pandas as pd

from sds_core.errors import SDSError
from sds_core.figures import change as change_figures
from sds_core.figures import compare as compare_figures
from sds_core.figures import layer as layer_figures
from sds_core.figures.error_map import error_map
from sds_core.figures.style import Figure, per_cent
from sds_core.lesson.pictures import beside_dense, corner, from_its_end, low, near_zero_marked
from sds_core.pruning.perplexity import format_perplexity, format_ratio
from sds_core.runs import examples
from sds_core.runs.claims import Claim, Verdict, words
from sds_core.runs.compare import Row, side_by_side
from sds_core.runs.outcomes import outcomes_of
from sds_core.runs.references import claim
from sds_core.runs.run_folder import Run

CALLED = {
    "base-wanda": "Wanda alone",
    "base-sparsegpt": "SparseGPT alone",
    "sds-wanda": "SDS, starting from Wanda",
    "sds-admm-wanda": "SDS with memory, starting from Wanda",
}
"""The examples that the Walk looks at, and what it calls them."""
RUNS = tuple(CALLED)


@dataclass(frozen=True, eq=False)
class Evidence:
    """Some of the examples, with their records."""

    runs: dict[str, Run]
    records: dict[str, pd.DataFrame]
    """What `record.load` returns, by the same names."""

    def layer(self, name: str) -> pd.DataFrame:
        """The rows of the layer that pictures show: the last linear of the middle block, the same in every run."""
        record = self.records[name]
        block = sorted(set(record["block"]))[len(set(record["block"])) // 2]
        of_block = record[record["block"] == block]
        return of_block[of_block["linear"] == list(dict.fromkeys(of_block["linear"]))[-1]]

    def stage(self, name: str, stage: str) -> pd.Series:
        """The row of this layer at one stage."""
        layer = self.layer(name)
        return layer[(layer["stage"] == stage) & (layer["round"] == 0)].iloc[-1]

    def share(self, name: str, column: str, stage: str, number: int = 0) -> float:
        """A share of all weights of the model: the layers' shares, weighted by their sizes."""
        record = self.records[name]
        rows = record[(record["stage"] == stage) & (record["round"] == number)]
        sizes = rows["counts"].map(sum) + rows["below"] + rows["above"] + rows["zeros"]
        return float((rows[column] * sizes).sum() / sizes.sum())

    def rows(self, *names: str) -> list[Row]:
        """The runs as rows of a comparison, with references among the examples alone.

        Raises:
            SDSError: they were not measured on the same windows of one text.
        """
        return side_by_side([self.runs[name] for name in names], outcomes_of(self.runs.values()))

    def claim(self, mine: Row, reference: Row) -> Claim:
        """How one example compares to another."""
        return claim([mine.outcome], [reference.outcome], outcomes_of(self.runs.values()))


@dataclass(frozen=True)
class Finding:
    """The answer to one question."""

    right: int
    """Place of the right option, from 0."""
    said: str
    """A sentence or two with the numbers."""
    figure: Figure
    alt: str
    """What the picture shows, for those who cannot see it."""
    caption: str
    """How to read the picture."""


def open_runs(*names: str) -> dict[str, Run]:
    """The examples of these names, unpacked where they are not there yet.

    Raises:
        SDSError: one has not come along, or cannot be unpacked.
    """
    missing = [name for name in names if not (examples.FOLDER / f"{name}.zip").exists()]
    if missing:
        raise SDSError(
            f"this step looks at a finished run that is not here: {' and '.join(missing)}",
            cure="take a complete copy of SDS Studio, or go on to another step",
        )
    return {name: examples.example(name) for name in names}


def times(one: Claim) -> str:
    """A ratio of perplexities with its standard error from windows and seeds together."""
    return format_ratio(one.log_ratio, one.error).replace("± ", "±\N{NO-BREAK SPACE}")


def between(value: float, *edges: float) -> int:
    """The place of a value among ranges that meet at these edges."""
    return sum(value >= edge for edge in edges)


def of_layer(layer: pd.DataFrame) -> str:
    """The layer's name in a sentence."""
    return f"block {int(layer['block'].iloc[0])}, {layer['linear'].iloc[0]}"


def near_zero(found: Evidence) -> Finding:
    share = found.share("base-wanda", "near_zero", "dense")
    layer = found.layer("base-wanda")
    return Finding(
        between(share, 0.02, 0.2),
        f"{per_cent(share)} of all weights are that small. The usual size is the standard deviation of a layer’s "
        "weights.",
        near_zero_marked(layer_figures.ridges(layer[layer["stage"] == "dense"])),
        "Histogram of the dense weights of one layer: a bell around zero, with a narrow band marked at its middle",
        f"One layer in the middle of the model ({of_layer(layer)}): the higher the curve, the more weights have this "
        "value. Orange: the tiny ones. “Dense” says that nothing is pruned yet.",
    )


def larger_half(layer: pd.DataFrame) -> float:
    """Share of the pruned weights that were larger than the median weight, to the width of a histogram's bin.

    Args:
        layer: rows of a layer whose pruner leaves the kept weights as they are.
    """
    rows = {stage: layer[layer["stage"] == stage].iloc[-1] for stage in ("dense", "sparse")}
    sizes = pd.Series(layer_figures.centres()).abs().round(6)
    dense, sparse = (pd.Series(list(row["counts"])).groupby(sizes).sum() for row in rows.values())
    pruned = dense - sparse
    median = dense.index[int((dense.cumsum() < dense.sum() / 2).sum())]
    outside = sum(int(rows["dense"][end] - rows["sparse"][end]) for end in ("below", "above"))
    return float((pruned[pruned.index > median].sum() + outside) / (pruned.sum() + outside))


def which_go(found: Evidence) -> Finding:
    layer = found.layer("base-wanda")
    share = larger_half(layer)
    return Finding(
        between(share, 0.01, 0.1),
        f"In this layer {per_cent(share)} of the pruned weights belonged to the larger half.",
        layer_figures.ridges(layer),
        "Histograms of one layer before and after Wanda: a hole around zero with slanting sides",
        f"The same layer ({of_layer(layer)}) before and after. The zeros are counted in the label and not drawn. Were "
        "it simply the smaller half that went, the hole would have upright walls.",
    )


def cost(found: Evidence) -> Finding:
    (row,) = found.rows("base-wanda")
    record = found.records["base-wanda"]
    sparse = record[(record["stage"] == "sparse") & (record["round"] == 0)].sort_values("block", kind="stable")
    return Finding(
        between(row.against["dense"].claim.ratio, 2, 5),
        f"The perplexity goes from {format_perplexity(row.outcome.dense.value)} to "
        f"{format_perplexity(row.perplexity)}: {times(row.against['dense'].claim)} times the dense "
        "model’s. (After ±, here and below: one standard error, about as much as chance moves such a number.)",
        low(error_map(sparse)),
        "Output error of every layer after Wanda: a row a block, a column each of its layers",
        f"How far off the output of every layer is: {sparse['block'].nunique()} blocks from the first above to the "
        f"last below, {sparse['linear'].nunique()} layers in each. The typical layer (the median) is "
        f"{per_cent(sparse['loss'].median())} off.",
    )


def repair(found: Evidence) -> Finding:
    wanda, sparsegpt = found.rows("base-wanda", "base-sparsegpt")
    gain = found.claim(sparsegpt, wanda)
    layer = found.layer("base-sparsegpt")
    joint = found.stage("base-sparsegpt", "sparse")["joint"]
    right = {Verdict.WORSE: 0, Verdict.BETTER: 2}.get(gain.verdict, 1)
    return Finding(
        right,
        f"SparseGPT’s perplexity is {format_perplexity(sparsegpt.perplexity)}, Wanda’s "
        f"{format_perplexity(wanda.perplexity)}: "
        f"{times(gain)} times as much, with as many zeros.",
        low(change_figures.before_and_after(list(joint), "sparse")),
        "Weights before and after SparseGPT: most have moved off the diagonal",
        f"The kept weights of the same layer ({of_layer(layer)}): across their old value, upwards the new one; the "
        "darker, the more weights. On the dotted line nothing has changed.",
    )


def fill_in(found: Evidence) -> Finding:
    changed = found.share("sds-admm-wanda", "mask_changed", "pruned", 1)
    layer = found.layer("sds-wanda")
    joint = found.stage("sds-wanda", "redense")["joint"]
    return Finding(
        between(changed, 0.02, 0.1),
        f"{per_cent(changed)} of the mask is new.",
        low(change_figures.before_and_after(list(joint), "redense")),
        "Weights before and after filling in: a cloud along the diagonal, and a flatter one of weights that came back",
        f"The same layer ({of_layer(layer)}), filled in (“re-dense”). Weights that had been kept lie near the dotted "
        "line; those that were zero make the flat cloud: they are back, but smaller than they were. The number is from "
        "round 1 of the run of question 6, the picture from SDS as in the paper.",
    )


def memory(found: Evidence) -> Finding:
    changed = found.share("sds-admm-wanda", "mask_changed", "final")
    first = found.share("sds-admm-wanda", "mask_changed", "pruned", 1)
    layer = found.layer("sds-admm-wanda")
    last = found.stage("sds-admm-wanda", "final")
    pattern = found.runs["sds-admm-wanda"].config.parsed_pattern()
    return Finding(
        between(changed, 0.02, 0.05),
        f"In the end {per_cent(changed)} of the mask is new; it was {per_cent(first)} while the memory was empty.",
        low(change_figures.masks(*corner(list(last["crop"]), int(last["columns"])), pattern)),
        "A corner of the mask: which weights both prunes keep, which are lost, which have returned",
        f"A corner of the same layer ({of_layer(layer)}), each square a weight, by the first and the last prune. Blue: "
        "pruned at first, kept in the end. Orange: the other way round.",
    )


def rounds(found: Evidence) -> Finding:
    name = "sds-admm-wanda"
    share, energy = (found.share(name, column, "redense") for column in ("near_zero", "prune_energy"))
    layer = found.layer(name)
    return Finding(
        between(share, 0.2, 0.4),
        f"{per_cent(share)} of all weights are near zero. To prune them now takes {per_cent(energy, 2)} of the energy "
        f"of the layers’ outputs; in the untouched model it took "
        f"{per_cent(found.share(name, 'prune_energy', 'dense'), 2)}.",
        from_its_end(layer_figures.player(layer)),
        "Histograms of the re-dense weights, and of what their prune keeps: the last round, and on ▶ every round",
        f"The same layer ({of_layer(layer)}) after the last round; ▶ shows how it came there. Blue: filled in "
        "(re-dense). Orange: what its prune keeps, in the end the same but for the peak. Grey: before any pruning.",
    )


def better(found: Evidence) -> Finding:
    rows = found.rows(*RUNS)
    best, *others = sorted(rows, key=lambda row: row.perplexity)
    called = {row.run: CALLED[name] for row, name in zip(rows, RUNS, strict=True)}
    ahead = found.claim(best, others[0])
    sure = ahead.verdict is Verdict.BETTER
    whose = "" if sure else f", of {called[best.run]}"  # else the right option has just named it
    versus = ""
    if base := best.against.get("base"):
        versus = f" Beside the pruner that it starts from, its perplexity is {times(base.claim)} times as high."
    figure = compare_figures.forest(rows, called, "dense")
    assert figure is not None, "every run is paired with its dense model"
    return Finding(
        rows.index(best) if sure else len(rows),
        f"The lowest perplexity is {format_perplexity(best.perplexity)}{whose} (dense: "
        f"{format_perplexity(best.outcome.dense.value)}), the next {format_perplexity(others[0].perplexity)}, of "
        f"{called[others[0].run]}. {words(ahead, called[best.run], called[others[0].run])}{versus}",
        beside_dense(figure),
        "Each run’s perplexity as a multiple of the dense model’s, with its interval",
        "Further left is better; 1 would be no loss at all. The bars, in brackets beside the names, reach two standard "
        "errors, over windows and seeds together, to either side.",
    )
