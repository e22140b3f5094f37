"""Wanda (Sun et al., arXiv 2306.11695): pruning by weights and activations."""

from dataclasses import dataclass

from torch import Tensor

from sds_core.pruning.layer_problem import LayerProblem, Pruned
from sds_core.pruning.pattern import Pattern


@dataclass(frozen=True, kw_only=True)
class Wanda:
    """Score |W_ij|·‖X_j‖₂, compared inside each output row; kept weights do not change (the paper's Eq. 1)."""

    def scores(self, problem: LayerProblem) -> Tensor:
        """|W_ij|·√H_jj (R, C): ‖X_j‖₂ up to the common factor √N."""
        return problem.weight.abs() * problem.gram.norms

    def solve(self, problem: LayerProblem, pattern: Pattern) -> Pruned:
        mask = pattern.mask(self.scores(problem), "row")
        return Pruned(problem.weight * mask, mask)
