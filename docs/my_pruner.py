"""A pruner of your own: copy this file, change `scores`, give it a name, and see it beside the others.

This one is relative importance with activations (RIA: Zhang et al., "Plug-and-Play: An Efficient Post-training Pruning
Method for Large Language Models", ICLR 2024). A weight counts by its share of its row and of its column, so that no
output and no input is cut off altogether, and by how much flows through it.
"""

from dataclasses import dataclass

from torch import Tensor

from sds_core.pruning.layer_problem import LayerProblem, Pruned
from sds_core.pruning.pattern import Pattern


@dataclass(frozen=True, kw_only=True)
class RelativeImportance:
    """It compares **size relative to row and column** × √input norm."""

    power: float = 0.5
    """How much the input norm counts: 0 not at all, 1 as in Wanda."""

    def scores(self, problem: LayerProblem) -> Tensor:
        """What is compared (R, C), for Micro to show; yours may do without."""
        size = problem.weight.abs()  # (R, C): a row an output, a column an input
        row = size / size.sum(dim=1, keepdim=True).clamp_min(1e-12)  # may be 0
        column = size / size.sum(dim=0, keepdim=True).clamp_min(1e-12)
        return (row + column) * problem.gram.norms**self.power

    def solve(self, problem: LayerProblem, pattern: Pattern) -> Pruned:
        """The weights (R, C) that are left, and which: True in the mask is kept."""
        # "layer" or "row": what competes at a ratio; N:M has its groups.
        mask = pattern.mask(self.scores(problem), "layer")
        return Pruned(problem.weight * mask, mask)
