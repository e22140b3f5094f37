"""Sparse-Dense-Sparse over a whole model, as in the paper (Li et al., arXiv 2408.10473).

1. *Sparse.* Prune the model block after block; each block sees the outputs of the pruned blocks before it.
2. *Dense.* Let every weight move again, so that the next prune finds a better mask.
3. *Sparse again.* Prune once more, and adjust the weights towards the dense layer.

*Staged*: each phase passes over the whole model before the next begins, so that every stage is a model to inspect.
*Fused*: one pass, in which each block goes through all three phases and sees a model whose earlier blocks are already
final. Both call the same functions per layer.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from sds_core.block_pass import BlockDone, run_pass
from sds_core.errors import SDSError
from sds_core.layer_result import LayerResult
from sds_core.models.linear import SHARED, Linear
from sds_core.models.structure import Block, ModelStructure
from sds_core.pass_plan import PassPlan, PriorResults
from sds_core.pruning.layer_problem import Pruned
from sds_core.pruning.methods import Method
from sds_core.pruning.pattern import Pattern
from sds_core.pruning.reconstruction import Reconstruction
from sds_core.pruning.redense import Round
from sds_core.pruning.registry import PRUNERS, Pruner
from sds_core.pruning.stages import Pass, Stages

Reported = TypeVar("Reported")
SHOWN_ROUNDS = (1, 2, 4, 8, 16, 32)
"""Rounds of phase 2 that are recorded, besides the last."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The treatment of every layer: base pruner, method and pattern."""

    pruner: Pruner | None
    """None where the sparse weights are given."""
    method: Method
    pattern: Pattern
    given: Callable[[Linear], Pruned] | None = None
    """Returns the result of phase 1, where that is not computed."""
    by_block: tuple[Pattern, ...] = ()
    """A pattern for each block, where they differ."""
    reconstruction: Reconstruction | None = None
    """How parts of a block are adjusted once its layers are solved; None where they are not."""
    bfloat16: bool = False
    """Whether the model is observed with products in bfloat16."""

    def pattern_of(self, block: Block) -> Pattern:
        """Return the pattern of one block."""
        return self.by_block[block.index] if self.by_block else self.pattern

    def sparse(self, layer: LayerResult) -> LayerResult:
        """Phase 1, sparse: W_d → W_s."""
        if self.given:
            sparse = self.given(layer.linear).to(layer.problem.weight.device)
        else:
            assert self.pruner
            sparse = self.pruner.solve(layer.problem, layer.pattern)
        return replace(layer, stages=Stages(sparse))

    def redense(self, layer: LayerResult) -> LayerResult:
        """Phase 2, dense: W_s → W_r."""
        shown: dict[int, Round] = {}
        for last in self.method.redense(layer.problem.shrunk(self.method.alpha), layer.sparse, layer.pattern):
            if last.number in SHOWN_ROUNDS:
                shown[last.number] = last
        shown[last.number] = last
        return replace(layer, stages=replace(layer.stages, redense=last.dense), rounds=tuple(shown.values()))

    def final(self, layer: LayerResult) -> LayerResult:
        """Phase 3, sparse again: W_r → W_f, or W_s → W_f for a method without phase 2."""
        assert self.pruner
        dense = layer.prior.redense if layer.stages.redense is None else layer.stages.redense
        shrunk = layer.problem.shrunk(self.method.alpha)
        chosen, final = self.method.finish(shrunk, layer.sparse, dense, self.pruner, layer.pattern)
        return replace(layer, stages=replace(layer.stages, final=final), chosen=chosen)

    def fused(self, layer: LayerResult) -> LayerResult:
        """All phases of the method on one and the same problem: W_d → W_s → W_r → W_f."""
        layer = self.sparse(layer)
        if self.method.redenses:
            layer = self.redense(layer)
        return self.final(layer) if self.method.finishes or self.reconstruction else layer


def run_phase(
    phase: Pass,
    structure: ModelStructure,
    windows: Tensor,
    recipe: Recipe,
    device: torch.device,
    prior: PriorResults,
    held_out: int = 0,
) -> Iterator[LayerResult | BlockDone]:
    """Take a dense model through one phase, as `report_phase` does, and yield the results of its layers."""
    return report_phase(phase, structure, windows, recipe, device, prior, held_out, lambda layer: layer)


def report_phase(
    phase: Pass,
    structure: ModelStructure,
    windows: Tensor,
    recipe: Recipe,
    device: torch.device,
    prior: PriorResults,
    held_out: int,
    report: Callable[[LayerResult], Reported],
) -> Iterator[Reported | BlockDone]:
    """Take a dense model through one phase; afterwards it holds the phase's weights.

    Args:
        phase: `fused`, or one of the paper's three.
        structure: the model, its weights dense.
        windows: calibration token ids (n, T).
        recipe: base pruner, method and pattern.
        device: where the work is done.
        prior: results of earlier phases, and of this one if it was interrupted.
        held_out: number of windows, the last ones, that no solver sees.
        report: what to yield of a layer. On a CPU it is called in several threads at once, and what is not yielded is
            let go there.

    Raises:
        SDSError: a layer's width does not fit the pattern, or the method needs dense blocks beside the pruned ones and
            blocks share weights.
    """
    if phase != "sparse":  # a base pruner ignores the target
        _refuse_shared_weights(structure, recipe)
    built_in = recipe.pruner is None or type(recipe.pruner) in PRUNERS.values()  # others may not be made for threads
    plan = replace(_plan(phase, recipe, prior), bfloat16=recipe.bfloat16, side_by_side=built_in)
    yield from run_pass(structure, windows, plan, device, prior, held_out, report)


def _plan(phase: Pass, recipe: Recipe, prior: PriorResults) -> PassPlan:
    """The pass over the blocks that makes up a phase."""

    def sparse(linear: Linear) -> Stages:
        return Stages(prior.sparse(linear))

    def sparse_and_redense(linear: Linear) -> Stages:
        return replace(sparse(linear), redense=prior.redense(linear))

    method, pattern = recipe.method, recipe.pattern_of
    fused = PassPlan(
        solve=recipe.fused,
        pattern=pattern,
        beta=method.beta,
        sequential=method.sequential,
        reconstruction=recipe.reconstruction,
    )
    match phase:
        case "sparse":
            return PassPlan(solve=recipe.sparse, pattern=pattern)
        case "redense":
            return PassPlan(solve=recipe.redense, pattern=pattern, prior=sparse, propagate="prior", beta=method.beta)
        case "final":
            return replace(fused, solve=recipe.final, prior=sparse_and_redense if method.redenses else sparse)
        case "fused":
            return fused


def _refuse_shared_weights(structure: ModelStructure, recipe: Recipe) -> None:
    """Refuse blocks that share weights if the method needs some dense while others are pruned."""
    if SHARED not in structure.excluded.values():
        return
    if recipe.method.beta:
        raise SDSError(
            "blocks of this model share weights, so its dense blocks cannot be run beside the pruned ones",
            cure="set the teacher's share to zero: --beta 0",
        )
    if recipe.reconstruction:
        raise SDSError(
            "blocks of this model share weights, so none can be adjusted by itself",
            cure="leave blocks as they are: --reconstruct matrix",
        )
