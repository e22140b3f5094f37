"""A pruner plugin: copy this file, change `scores`, rename it, and compare it with the built-in pruners.

This one is relative importance with activations (RIA: Zhang et al., "Plug-and-Play: An Efficient Post-training Pruning
Method for Large Language Models", ICLR 2024). A weight is scored by its share of its row and of its column, so that no
output and no input is cut off altogether, and by the norm of its input.
"""

from dataclasses import dataclass

from torch import Tensor

from sds_core.pruning.layer_problem import LayerProblem, Pruned
from sds_core.pruning.pattern import Pattern


@dataclass(frozen=True, kw_only=True)
class RelativeImportance:
    """It compares **size relative to row and column** × √input norm."""

    power: float = 0.5
    """Exponent of the input norm: 0 ignores it, 1 is as in Wanda."""

    def scores(self, problem: LayerProblem) -> Tensor:
        """Return the scores (R, C) that are compared. Optional: Micro shows them."""
        size = problem.weight.abs()  # (R, C): one row per output, one column per input
        row = size / size.sum(dim=1, keepdim=True).clamp_min(1e-12)  # a sum may be 0
        column = size / size.sum(dim=0, keepdim=True).clamp_min(1e-12)
        return (row + column) * problem.gram.norms**self.power

    def solve(self, problem: LayerProblem, pattern: Pattern) -> Pruned:
        """Return the pruned weight (R, C) and its mask, True where a weight is kept."""
        # Weights of the whole "layer" or of a "row" compete at a ratio; N:M always compares its groups.
        mask = pattern.mask(self.scores(problem), "layer")
        return Pruned(problem.weight * mask, mask)
