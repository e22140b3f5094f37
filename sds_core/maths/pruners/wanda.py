"""Wanda (Sun et al., arXiv 2306.11695): pruning by weights and activations."""

from dataclasses import dataclass

from sds_core.maths.pattern import Pattern
from sds_core.maths.problem import LayerProblem, Pruned


@dataclass(frozen=True, kw_only=True)
class Wanda:
    """Score |W_ij|·‖X_j‖₂, compared inside each output row; kept weights do not change (the paper's Eq. 1)."""

    def solve(self, problem: LayerProblem, pattern: Pattern) -> Pruned:
        mask = pattern.mask(problem.weight.abs() * problem.gram.norms, "row")
        return Pruned(problem.weight * mask, mask)
