"""Wanda (Sun et al., arXiv 2306.11695): pruning by weights and activations."""

from dataclasses import dataclass

from torch import Tensor

from sds_core.pruning.gram import Gram
from sds_core.pruning.layer_problem import LayerProblem, Pruned
from sds_core.pruning.pattern import Pattern


@dataclass(frozen=True, kw_only=True)
class Wanda:
    """Score |W_ij|·‖X_j‖₂, compared inside each output row; kept weights do not change (the paper's Eq. 1)."""

    def scores(self, problem: LayerProblem) -> Tensor:
        """The paper's scores (R, C)."""
        return wanda_scores(problem.weight, problem.gram)

    def solve(self, problem: LayerProblem, pattern: Pattern) -> Pruned:
        mask = pattern.mask(self.scores(problem), "row")
        return Pruned(problem.weight * mask, mask)


def wanda_scores(weight: Tensor, gram: Gram) -> Tensor:
    """Return |W_ij|·√H_jj (R, C): the paper's |W_ij|·‖X_j‖₂ up to √N, N the tokens that reach this layer."""
    return weight.abs() * gram.norms


def wanda_mask(weight: Tensor, gram: Gram, pattern: Pattern) -> Tensor:
    """Return Wanda's mask (R, C) of a weight that is being solved for: its scores in units of the Gram matrix's scale.

    Only where inputs are dead does it differ from the pruner's: there the largest weights are kept.
    """
    return pattern.mask((weight * gram.scale).abs(), "row")
