"""The Layer lab: the rounds of the dense phase on one layer, with what the next prune would cost after each."""

from dataclasses import dataclass

from torch import Tensor

from sds_core.lesson.curves import curve
from sds_core.lesson.lab_layer import LabLayer
from sds_core.pruning.adjust import solve_kept
from sds_core.pruning.distribution import histogram, mask_change
from sds_core.pruning.layer_problem import LayerProblem, Pruned
from sds_core.pruning.methods import SDSAdmm
from sds_core.pruning.pattern import Pattern
from sds_core.pruning.reading import read
from sds_core.pruning.redense import admm_rounds, proximal_rounds
from sds_core.pruning.registry import Pruner


@dataclass(frozen=True)
class State:
    """The layer at one moment."""

    curve: list[float]
    """Density of its weights, as `lesson.curves` draws it."""
    zeros: float
    """Share of its weights."""
    seen: float
    held_out: float
    """Output errors relative to the output on the two texts."""
    changed: float | None
    """Share of the first mask that this mask does not keep; None of a weight that is not pruned."""


@dataclass(frozen=True)
class Round:
    """One round of the dense phase."""

    number: int
    redense: State
    pruned: State
    """The layer pruned by the base pruner alone."""
    returned: float
    """Median size in `redense` of the weights that the first prune has removed, relative to their dense size."""


@dataclass(frozen=True)
class Course:
    """A layer on its way through the dense phase."""

    dense: State
    first: State
    """The first prune."""
    solved: State
    """The first prune, its kept weights solved."""
    rounds: tuple[Round, ...]


def rounds(layer: LabLayer, pruner: Pruner, pattern: Pattern, method: SDSAdmm, dual: bool) -> Course:
    """Prune a layer, run the rounds of the dense phase, and prune again after each of them.

    Both prunes see the Gram matrix shrunk by the method's α, so that only the dense phase can change the mask.

    Args:
        layer: the layer.
        pruner: the base pruner, for the first prune and for those after the rounds.
        pattern: the pattern of every prune.
        method: rounds, rho, rho_growth and α; β is left out, for it needs the stream of a whole model.
        dual: whether the rounds carry ADMM's dual variable; without it they are the plain re-dense path.
    """
    fit = layer.seen.shrunk(method.alpha)
    first = pruner.solve(fit, pattern)

    def state(value: Pruned | Tensor) -> State:
        return _state(layer, first, value)

    path = admm_rounds if dual else proximal_rounds
    steps = path(fit, first.weight, pattern, rounds=method.rounds, rho=method.rho, rho_growth=method.rho_growth)
    removed = ~first.mask & (layer.seen.weight != 0)
    found = []
    for step in steps:
        again = pruner.solve(LayerProblem(step.dense, fit.gram), pattern)
        returned = (step.dense[removed] / layer.seen.weight[removed]).abs().median()
        found.append(Round(step.number, state(step.dense), state(again), float(returned)))
    return Course(
        dense=state(layer.seen.weight),
        first=state(first),
        solved=state(solve_kept(fit, first)),
        rounds=tuple(found),
    )


def _state(layer: LabLayer, first: Pruned, value: Pruned | Tensor) -> State:
    weight, mask = (value.weight, value.mask) if isinstance(value, Pruned) else (value, None)
    counted = read(histogram(weight, float(layer.seen.weight.std(correction=0))))
    return State(
        curve=curve(counted.counts, weight.numel()),
        zeros=counted.zeros / weight.numel(),
        seen=float(layer.seen.output_error(weight)),
        held_out=float(layer.held_out.output_error(weight)),
        changed=None if mask is None else read(mask_change(first.mask, mask)),
    )
