"""An 8×8 layer on which every number of pruning can be followed by hand. The engine itself computes all of them."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sds_core.pruning.layer_problem import LayerProblem, Pruned
from sds_core.pruning.magnitude import Magnitude
from sds_core.pruning.methods import SDSAdmm
from sds_core.pruning.pattern import NM
from sds_core.pruning.redense import Round
from sds_core.pruning.registry import Pruner
from sds_core.pruning.sparsegpt import ColumnStep, SparseGPT, column_steps
from sds_core.pruning.wanda import Wanda

SIZE = 8
TOKENS = 64
PATTERN = NM(keep=2, group=4)
SEEDS = 9999
"""Examples are numbered from 0 to this."""


def example(seed: int) -> LayerProblem:
    """A layer of 8 outputs and 8 inputs in float64, the same for the same seed.

    Weights have two decimals and the inputs' norms √H_jj one, so that products can be checked in one's head. Inputs
    are correlated, as those of a language model are; otherwise there would be nothing to repair.
    """
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)
    weight = draw(SIZE, SIZE).mul(100).round() / 100
    inputs = draw(SIZE, SIZE // 2) @ draw(SIZE // 2, TOKENS) + draw(SIZE, TOKENS)
    norms = (0.6 * draw(SIZE)).exp().mul(10).round().clamp_min(1) / 10
    inputs *= (norms / inputs.square().mean(dim=1).sqrt())[:, None]
    return LayerProblem.from_inputs(weight, inputs, "the example")


def telling_row(problem: LayerProblem) -> int:
    """The row (from 0) in which magnitude and Wanda disagree most, the first of equals: worth predicting."""
    masks = [pruner.solve(problem, PATTERN).mask for pruner in (Magnitude(), Wanda())]
    return int((masks[0] != masks[1]).sum(dim=1).argmax())


def columns(problem: LayerProblem) -> list[ColumnStep]:
    """SparseGPT's sweep over the example, one step per column, each with tensors of its own."""
    factor = problem.gram.inverse_factor(SparseGPT().damping)
    steps = column_steps(problem.weight, factor, PATTERN)
    return [replace(s, columns=s.columns.clone(), keep=s.keep.clone(), errors=s.errors.clone()) for s in steps]


def scores(pruner: Pruner, problem: LayerProblem) -> Tensor | None:
    """Return the scores (8, 8) that a pruner compares, or None if it has none.

    SparseGPT's are those of the moment when it reaches a group of columns, after the updates of earlier columns.
    """
    if isinstance(pruner, SparseGPT):
        return torch.cat([step.scores for step in columns(problem)[:: PATTERN.group]], dim=1)
    scores = getattr(pruner, "scores", None)
    return scores(problem) if scores else None


@dataclass(frozen=True, eq=False)
class ADMMRound:
    """A round of the dense phase with the dual variable that its prune sees."""

    round: Round
    dual: Tensor
    """U (8, 8), in the weight's units: what earlier prunes removed. The round keeps the largest |V + U|."""

    @property
    def accumulated(self) -> Tensor:
        """V + U (8, 8)."""
        return self.round.dense + self.dual


def rounds(problem: LayerProblem, sparse: Pruned, method: SDSAdmm) -> Iterator[ADMMRound]:
    """The dense phase of `sds-admm` with its dual variable.

    A `Round` holds V and Z; from U = 0 at the start, U ← (V + U − Z) / rho_growth restores the dual variable.
    """
    dual = torch.zeros_like(problem.weight)
    for step in method.redense(problem.shrunk(method.alpha), sparse, PATTERN):
        yield ADMMRound(step, dual)
        dual = (step.dense + dual - step.sparse.weight) / method.rho_growth
