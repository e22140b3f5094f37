"""The Layer lab: the rounds of the dense phase on one layer, with what the next prune would cost after each."""

from typing import Any

import pandas as pd
from torch import Tensor

from sds_core.lesson.lab_layer import LabLayer
from sds_core.pruning.adjust import solve_kept
from sds_core.pruning.distribution import histogram, mask_change, statistics
from sds_core.pruning.layer_problem import LayerProblem, Pruned
from sds_core.pruning.methods import SDSAdmm
from sds_core.pruning.pattern import Pattern
from sds_core.pruning.redense import admm_rounds, proximal_rounds
from sds_core.pruning.registry import Pruner


def rounds(layer: LabLayer, pruner: Pruner, pattern: Pattern, method: SDSAdmm, dual: bool) -> pd.DataFrame:
    """Prune a layer, run the rounds of the dense phase, and prune again after each of them.

    Both prunes see the Gram matrix shrunk by the method's α, so that only the dense phase can change the mask.

    Args:
        layer: the layer.
        pruner: the base pruner, for the first prune and for those after the rounds.
        pattern: the pattern of every prune.
        method: rounds, rho, rho_growth and α; β is left out, for it needs the stream of a whole model.
        dual: whether the rounds carry ADMM's dual variable; without it they are the plain re-dense path.

    Returns:
        One row per weight. `stage` is `dense`, `sparse`, `adjusted` (the first prune, its weights solved), for each
        `round` `redense` and `pruned` (what the base pruner makes of it), and `final` (the last of these, its weights
        solved). `seen` and `held_out` are the output errors relative to the output on the two texts; `changed` is the
        share of the first mask that this mask does not keep; `returned` is the median size of the weights that the
        first mask prunes, relative to their dense size. Histogram and statistics as in a run's layer statistics.
    """
    fit = layer.seen.shrunk(method.alpha)
    first = pruner.solve(fit, pattern)
    rows = [_row(layer, first, "dense", layer.seen.weight), _row(layer, first, "sparse", first)]
    rows.append(_row(layer, first, "adjusted", solve_kept(fit, first)))
    path = admm_rounds if dual else proximal_rounds
    options: dict[str, Any] = {"rounds": method.rounds, "rho": method.rho, "rho_growth": method.rho_growth}
    for one in path(fit, first.weight, pattern, **options):
        again = pruner.solve(LayerProblem(one.dense, fit.gram), pattern)
        rows.append(_row(layer, first, "redense", one.dense, one.number))
        rows.append(_row(layer, first, "pruned", again, one.number))
    rows.append(_row(layer, first, "final", solve_kept(fit, again)))
    return pd.DataFrame(rows)


def _row(layer: LabLayer, first: Pruned, stage: str, value: Pruned | Tensor, number: int = 0) -> dict[str, Any]:
    """One weight of the layer in numbers, compared to its dense weight and to the first prune."""
    weight, mask = (value.weight, value.mask) if isinstance(value, Pruned) else (value, None)
    dense = layer.seen.weight
    std = float(dense.std(correction=0))
    pruned = ~first.mask & (dense != 0)
    return {
        "stage": stage,
        "round": number,
        "seen": layer.seen.loss(weight),
        "held_out": layer.held_out.loss(weight),
        "changed": float("nan") if mask is None else mask_change(first.mask, mask),
        "returned": float((weight[pruned] / dense[pruned]).abs().median()),
        **vars(histogram(weight, std)),
        **vars(statistics(weight, std, mask)),
    }
