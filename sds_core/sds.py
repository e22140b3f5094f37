"""Sparse-Dense-Sparse over a whole model, as one reads it in the paper (Li et al., arXiv 2408.10473).

1. *Sparse.* Prune the model block after block; each block sees the outputs of the pruned blocks before it.
2. *Dense.* Let every connection move again, until the weights are friendly to pruning.
3. *Sparse again.* Prune once more and adjust the weights towards the dense layer.

*Staged*: each phase goes over the whole model before the next begins, so that one can stop and look. *Fused*: one
walk, in which each block goes through all three phases and sees a model whose earlier blocks are already final. Both
call the same functions per layer.
"""

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import torch
from torch import Tensor

from sds_core.errors import SDSError
from sds_core.maths.methods import Method
from sds_core.maths.pattern import Pattern
from sds_core.maths.problem import LayerProblem, Pruned
from sds_core.maths.pruners import Pruner
from sds_core.maths.redense import Round
from sds_core.models.blocks import SHARED, Anatomy, Block, Linear
from sds_core.models.stream import capture, observe
from sds_core.stages import Phase, Stage

SHOWN_ROUNDS = (1, 2, 4, 8, 16, 32)
"""Rounds of phase 2 that are handed on to be looked at, besides the last."""


@dataclass(frozen=True, eq=False)
class Solved:
    """One layer has gone through one phase, or through all of them."""

    linear: Linear
    problem: LayerProblem
    """With the dense weight and the Gram matrix that was seen, not shrunk."""
    held_out: LayerProblem | None
    """The same on windows that no solver has seen, aiming at the dense layer's own outputs."""
    pattern: Pattern
    """What was asked of this layer."""
    stages: dict[Stage, Pruned | Tensor]
    """What was computed now."""
    sparse: Pruned
    """What phase 1 left, now or earlier."""
    rounds: list[Round]
    """Some of the rounds that phase 2 went through (`SHOWN_ROUNDS`), and the last."""
    winner: str
    """Which candidate the early exit kept; empty where there was no choice."""
    seconds: float


@dataclass(frozen=True)
class BlockDone:
    """All layers of a block are solved and written."""

    block: int


class Past(Protocol):
    """What lies on disk from earlier phases, and from this one if it was interrupted."""

    @property
    def finished(self) -> int:
        """How many blocks of this phase are done already, counted from the first."""
        ...

    def restore(self, block: Block) -> None:
        """Write a done block's result into the model."""
        ...

    def sparse(self, linear: Linear) -> Pruned:
        """What phase 1 left of a layer."""
        ...

    def redense(self, linear: Linear) -> Tensor:
        """What phase 2 left of a layer (R, C)."""
        ...


@dataclass(frozen=True, eq=False)
class Result:
    """One layer's stages, ready to be written."""

    stages: dict[Stage, Pruned | Tensor]
    sparse: Pruned
    rounds: list[Round]
    winner: str = ""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Base pruner, method and pattern: what is done to every layer."""

    pruner: Pruner | None
    """None where the sparse weights are given."""
    method: Method
    pattern: Pattern
    given: Callable[[Linear], Pruned] | None = None
    """Says what phase 1 leaves, where that is not computed."""
    by_block: tuple[Pattern, ...] = ()
    """One pattern a block, where they differ."""

    def of(self, block: Block) -> "Recipe":
        """The recipe of one block."""
        return replace(self, pattern=self.by_block[block.index], by_block=()) if self.by_block else self

    def phase1(self, problem: LayerProblem, linear: Linear) -> Result:
        """Sparse: W_d → W_s."""
        if self.given:
            sparse = self.given(linear).to(problem.weight.device)
        else:
            assert self.pruner
            sparse = self.pruner.solve(problem, self.pattern)
        return Result({"sparse": sparse}, sparse, [])

    def phase2(self, problem: LayerProblem, sparse: Pruned) -> Result:
        """Dense: W_s → W_r."""
        shown: dict[int, Round] = {}
        for last in self.method.redense(problem.shrunk(self.method.alpha), sparse, self.pattern):
            if last.number in SHOWN_ROUNDS:
                shown[last.number] = last
        shown[last.number] = last
        return Result({"redense": last.dense}, sparse, list(shown.values()))

    def phase3(self, problem: LayerProblem, sparse: Pruned, redense: Tensor | None) -> Result:
        """Sparse again: W_r → W_f."""
        assert self.pruner
        fit = problem.shrunk(self.method.alpha)
        winner, final = self.method.finish(fit, sparse, redense, self.pruner, self.pattern)
        return Result({"final": final}, sparse, [], winner)

    def all_phases(self, problem: LayerProblem, linear: Linear) -> Result:
        """W_d → W_s → W_r → W_f on one and the same problem."""
        first = self.phase1(problem, linear)
        sparse = first.sparse
        if not self.method.finishes:
            return first
        second = self.phase2(problem, sparse) if self.method.redenses else Result({}, sparse, [])
        redense = second.stages.get("redense")
        assert redense is None or isinstance(redense, Tensor)
        third = self.phase3(problem, sparse, redense)
        return Result(first.stages | second.stages | third.stages, sparse, second.rounds, third.winner)


@dataclass(frozen=True)
class Step:
    """What a walk does with each layer, and which weights it lets the data flow through."""

    solve: Callable[[Recipe, LayerProblem, Linear], Result]
    start: Callable[[Linear], Tensor] | None = None
    """Weights (R, C) with which a block is observed; the dense ones where there is no function."""
    feeds_on: Literal["start", "result"] = "result"
    """Which of its weights a block feeds the later ones with; phase 2 looks at inputs inside the sparse model."""
    taught: bool = True
    """Whether the target's share of the teacher, β, is of use here; a base pruner looks at no target."""


def run_phase(
    phase: Phase,
    anatomy: Anatomy,
    windows: Tensor,
    recipe: Recipe,
    device: torch.device,
    past: Past,
    held_out: int = 0,
) -> Iterator[Solved | BlockDone]:
    """One walk over a dense model's blocks, after which it holds what the phase makes of them.

    Args:
        phase: `fused`, or one of the paper's three.
        anatomy: the model, its weights dense.
        windows: calibration token ids (n, T).
        recipe: base pruner, method and pattern.
        device: where the work is done.
        past: results of earlier phases and of an interrupted walk.
        held_out: so many of the last windows are for judging only.

    Raises:
        SDSError: a layer's width does not fit the pattern, or a teacher is asked for where blocks share weights.
    """

    def sparse(linear: Linear) -> Pruned:
        return past.sparse(linear).to(device)

    def redense(linear: Linear) -> Tensor | None:
        return past.redense(linear).to(device) if recipe.method.redenses else None

    def redense_or_sparse(linear: Linear) -> Tensor:
        dense = redense(linear)
        return sparse(linear).weight if dense is None else dense

    match phase:
        case "fused":
            step = Step(lambda its, problem, linear: its.all_phases(problem, linear))
        case "sparse":
            step = Step(lambda its, problem, linear: its.phase1(problem, linear), taught=False)
        case "dense":
            step = Step(
                lambda its, problem, linear: its.phase2(problem, sparse(linear)),
                start=lambda linear: sparse(linear).weight,
                feeds_on="start",
            )
        case "final":
            step = Step(
                lambda its, problem, linear: its.phase3(problem, sparse(linear), redense(linear)),
                start=redense_or_sparse,
            )
    yield from _walk(anatomy, windows, recipe, step, device, past, held_out)


def _walk(
    anatomy: Anatomy, windows: Tensor, recipe: Recipe, step: Step, device: torch.device, past: Past, held_out: int
) -> Iterator[Solved | BlockDone]:
    for block in anatomy.blocks:
        for linear in block.linears:
            recipe.pattern.check(linear.shape[1], linear.name)
    stream = capture(anatomy, windows, device)
    beta = recipe.method.beta if step.taught else 0.0
    if beta and SHARED in anatomy.left_out.values():
        raise SDSError(
            "blocks of this model share weights, so its dense blocks cannot be run beside the pruned ones",
            cure="set the teacher's share to nothing: --beta 0",
        )
    teacher = stream.fork() if beta else None
    sequential = recipe.method.sequential and step.taught and step.feeds_on == "result"
    for block in anatomy.blocks:
        dense = {linear.label: linear.read() for linear in block.linears}
        dense_block = copy.deepcopy(block.module) if teacher and (step.start or sequential) else None
        if step.start:
            for linear in block.linears:
                linear.write(step.start(linear))
        done = block.index < past.finished
        if done or not block.linears:
            if teacher:
                teacher.advance(dense_block)
            if step.feeds_on == "start":
                stream.advance()
            past.restore(block)
            if step.feeds_on == "result":
                stream.advance()
            if not done:
                yield BlockDone(block.index)
            continue
        here = recipe.of(block)
        groups = block.groups if sequential else [block.linears]
        for group in groups:
            seen, outputs = observe(stream, teacher, dense_block, held_out, group, group is groups[-1])
            for linear in group:
                began = time.monotonic()
                observed = seen[linear.input]
                weight = dense[linear.label].to(device)
                shift = None if observed.pull is None else beta * (weight @ observed.pull)
                problem = LayerProblem(weight, observed.gram, shift)
                result = step.solve(here, problem, linear)
                newest = list(result.stages.values())[-1]
                linear.write(newest.weight if isinstance(newest, Pruned) else newest)
                seconds = time.monotonic() - began
                judge = LayerProblem(weight, observed.held_out) if observed.held_out else None
                yield Solved(
                    linear=linear,
                    problem=problem,
                    held_out=judge,
                    pattern=here.pattern,
                    stages=result.stages,
                    sparse=result.sparse,
                    rounds=result.rounds,
                    winner=result.winner,
                    seconds=seconds,
                )
        if step.feeds_on == "start":
            stream.move_on(outputs)
        elif block is not anatomy.blocks[-1]:
            stream.advance()
        del seen, observed, problem, judge, result, dense  # or two blocks' worth would lie in memory
        yield BlockDone(block.index)
