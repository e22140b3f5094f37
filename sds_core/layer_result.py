"""One layer and the weights that a pass over the blocks computes for it."""

from dataclasses import dataclass, field, replace

from sds_core.models.linear import Linear
from sds_core.pruning.gram import Gram
from sds_core.pruning.layer_problem import LayerProblem, Pruned
from sds_core.pruning.pattern import Pattern
from sds_core.pruning.redense import Round
from sds_core.pruning.stages import Scarcity, Stages


@dataclass(frozen=True, eq=False, kw_only=True)
class LayerResult:
    """One layer, and the weights that a pass computes for it.

    A layer whose block is adjusted as a whole is reported twice: first without its final stage, then with that alone,
    once the block is done.
    """

    linear: Linear
    problem: LayerProblem
    """The dense weight and the Gram matrix as observed; shrunk only where tokens are scarce (`Observed`)."""
    held_out: LayerProblem | None
    """The same on windows that no solver sees, with the dense layer's own outputs as target."""
    pattern: Pattern
    scarcity: Scarcity = ""
    prior: Stages = field(default_factory=Stages)
    """Weights from earlier passes."""
    stages: Stages = field(default_factory=Stages)
    """Weights from this pass."""
    rounds: tuple[Round, ...] = ()
    """Rounds of phase 2 that are recorded, the last one among them."""
    chosen: str = ""
    """The candidate that the early exit kept; empty where there was no choice."""
    seconds: float = 0.0
    """Time spent on this layer alone."""

    @property
    def sparse(self) -> Pruned:
        """The result of phase 1, from this pass or an earlier one."""
        sparse = self.stages.sparse or self.prior.sparse
        assert sparse
        return sparse

    @property
    def final(self) -> Pruned:
        """The result of phase 3."""
        assert self.stages.final
        return self.stages.final

    def split_final(self) -> tuple["LayerResult", "LayerResult"]:
        """Return the result without its final stage, and the final stage alone, to be kept until the block is done.

        Neither holds the factorisations that only solvers need.
        """
        problem = LayerProblem(self.problem.weight, Gram(self.problem.gram.matrix), self.problem.shift)
        early = replace(self, problem=problem, stages=replace(self.stages, final=None))
        late = replace(self, problem=problem, prior=Stages(self.sparse), stages=Stages(final=self.final), rounds=())
        return early, late
