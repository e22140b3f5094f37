"""Magnitude pruning: remove the smallest weights, whatever their inputs."""

from dataclasses import dataclass

from torch import Tensor

from sds_core.pruning.layer_problem import LayerProblem, Pruned
from sds_core.pruning.pattern import Pattern


@dataclass(frozen=True, kw_only=True)
class Magnitude:
    """Score |W_ij|, compared over the whole layer; kept weights do not change."""

    def scores(self, problem: LayerProblem) -> Tensor:
        """|W_ij| (R, C)."""
        return problem.weight.abs()

    def solve(self, problem: LayerProblem, pattern: Pattern) -> Pruned:
        mask = pattern.mask(self.scores(problem), "layer")
        return Pruned(problem.weight * mask, mask)
