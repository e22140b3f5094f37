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
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from sds_core.errors import SDSError
from sds_core.models.block_reconstruction import BlockChange, adjust_block, wanted_outputs
from sds_core.models.stream import HiddenStates, Observed, Stream, capture, observe
from sds_core.models.structure import SHARED, Block, Linear, ModelStructure
from sds_core.pruning.gram import Gram
from sds_core.pruning.layer_problem import LayerProblem, Pruned
from sds_core.pruning.methods import Method
from sds_core.pruning.pattern import Pattern
from sds_core.pruning.redense import Round
from sds_core.pruning.registry import Pruner
from sds_core.pruning.stages import Phase, Stage

SHOWN_ROUNDS = (1, 2, 4, 8, 16, 32)
"""Rounds of phase 2 that are handed on to be looked at, besides the last."""


@dataclass(frozen=True, eq=False)
class LayerResult:
    """One layer has gone through one phase, or through all of them.

    Where the layers of a block are adjusted together in the end, a layer comes twice: first without what is final, and
    that alone once its block is done.
    """

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
    chosen: str
    """Which candidate the early exit kept; empty where there was no choice."""
    seconds: float
    """Spent on the layer alone."""

    @property
    def final(self) -> Pruned:
        """What phase 3 left."""
        final = self.stages["final"]
        assert isinstance(final, Pruned)
        return final

    def split_final(self) -> tuple["LayerResult", "LayerResult"]:
        """What is final apart, both without what only the solvers needed: it waits for the rest of its block."""
        early: dict[Stage, Pruned | Tensor] = {stage: value for stage, value in self.stages.items() if stage != "final"}
        problem = LayerProblem(self.problem.weight, Gram(self.problem.gram.matrix), self.problem.shift)
        late = replace(self, problem=problem, stages={"final": self.final}, rounds=[])
        return replace(self, problem=problem, stages=early), late


@dataclass(frozen=True)
class BlockDone:
    """All layers of a block are solved and written."""

    block: int
    change: BlockChange | None = None
    """What adjusting them together did, where that was asked for."""


class PriorResults(Protocol):
    """What lies on disk from earlier phases, and from this one if it was interrupted."""

    @property
    def finished(self) -> int:
        """How many blocks of this phase are done already, counted from the first."""
        ...

    def restore(self, block: Block) -> None:
        """Write a done block's result into the model; also one that was done in the walk that is going on."""
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
    chosen: str = ""


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
        chosen, final = self.method.finish(fit, sparse, redense, self.pruner, self.pattern)
        return Result({"final": final}, sparse, [], chosen)

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
        return Result(first.stages | second.stages | third.stages, sparse, second.rounds, third.chosen)


@dataclass(frozen=True)
class Step:
    """What a walk does with each layer, and which weights it lets the data flow through."""

    solve: Callable[[Recipe, LayerProblem, Linear], Result]
    start: Callable[[Linear], Tensor] | None = None
    """Weights (R, C) with which a block is observed; the dense ones where there is no function."""
    propagate: Literal["start", "result"] = "result"
    """Which of its weights a block feeds the later ones with; phase 2 looks at inputs inside the sparse model."""
    taught: bool = True
    """Whether the target's share of the teacher, β, is of use here; a base pruner looks at no target."""


def run_phase(
    phase: Phase,
    structure: ModelStructure,
    windows: Tensor,
    recipe: Recipe,
    device: torch.device,
    past: PriorResults,
    held_out: int = 0,
) -> Iterator[LayerResult | BlockDone]:
    """One walk over a dense model's blocks, after which it holds what the phase makes of them.

    Args:
        phase: `fused`, or one of the paper's three.
        structure: the model, its weights dense.
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
        case "redense":
            step = Step(
                lambda its, problem, linear: its.phase2(problem, sparse(linear)),
                start=lambda linear: sparse(linear).weight,
                propagate="start",
            )
        case "final":
            step = Step(
                lambda its, problem, linear: its.phase3(problem, sparse(linear), redense(linear)),
                start=redense_or_sparse,
            )
    yield from _walk(structure, windows, recipe, step, device, past, held_out)


def _walk(
    structure: ModelStructure,
    windows: Tensor,
    recipe: Recipe,
    step: Step,
    device: torch.device,
    past: PriorResults,
    held_out: int,
) -> Iterator[LayerResult | BlockDone]:
    for block in structure.blocks:
        for linear in block.linears:
            recipe.pattern.check(linear.shape[1], linear.name)
    stream = capture(structure, windows, device)
    beta = recipe.method.beta if step.taught else 0.0
    if beta and SHARED in structure.excluded.values():
        raise SDSError(
            "blocks of this model share weights, so its dense blocks cannot be run beside the pruned ones",
            cure="set the teacher's share to nothing: --beta 0",
        )
    if step.taught and recipe.method.block_epochs and SHARED in structure.excluded.values():
        raise SDSError(
            "blocks of this model share weights, so none can be adjusted by itself",
            cure="leave blocks as they are: --block-epochs 0",
        )
    teacher = stream.fork() if beta else None
    going = BlockPass(stream, teacher, recipe, step, past, beta, held_out)
    for block in structure.blocks:
        with structure.store.resident(block.module, again=partial(past.restore, block)):
            if block.index < past.finished:
                going.pass_by(block)
                continue
            change = None
            if block.linears:
                change = yield from going.work_on(block)
            else:
                going.pass_by(block)
        yield BlockDone(block.index, change)


@dataclass(frozen=True, eq=False)
class BlockPass:
    """A walk on its way: the streams in front of a dense block, and how to get past it."""

    stream: Stream
    teacher: Stream | None
    recipe: Recipe
    step: Step
    past: PriorResults
    beta: float
    held_out: int

    @property
    def finishes(self) -> bool:
        """Whether what the step makes is what a layer stays."""
        return self.step.taught and self.step.propagate == "result"

    @property
    def sequential(self) -> bool:
        """Whether a block's layers are observed one after the other, behind those that were solved."""
        return self.recipe.method.sequential and self.finishes

    @property
    def epochs(self) -> int:
        """How often the layers of a block are adjusted together on all windows."""
        return self.recipe.method.block_epochs if self.finishes else 0

    def _begin(self, block: Block) -> nn.Module | None:
        """Give a dense block the weights it is observed with; returns a copy for the teacher if it will not stay."""
        start = self.step.start
        dense_block = copy.deepcopy(block.module) if self.teacher and (start or self.sequential) else None
        if start:
            for linear in block.linears:
                linear.write(start(linear))
        return dense_block

    def pass_by(self, block: Block) -> None:
        """Send the data through a block that is done already."""
        dense_block = self._begin(block)
        if self.teacher:
            self.teacher.advance(dense_block)
        if self.step.propagate == "start":
            self.stream.advance()
        self.past.restore(block)
        if self.step.propagate == "result":
            self.stream.advance()

    def work_on(self, block: Block) -> Generator[LayerResult, None, BlockChange | None]:
        """Observe a block, solve its layers one by one, and send the data through it."""
        dense = {linear.label: linear.weight.clone() for linear in block.linears}
        wanted = wanted_outputs(self.stream, self.teacher, self.beta) if self.epochs else None
        waiting, change = list[LayerResult](), None
        dense_block = self._begin(block)
        groups = block.groups if self.sequential else [block.linears]
        for group in groups:
            seen, outputs = observe(self.stream, self.teacher, dense_block, self.held_out, group, group is groups[-1])
            for linear in group:
                weight = dense.pop(linear.label).to(self.stream.device).float()
                if wanted is None:
                    yield self._solve(linear, weight, seen[linear.input], self.recipe.of(block))
                else:
                    early, late = self._solve(linear, weight, seen[linear.input], self.recipe.of(block)).split_final()
                    yield early
                    waiting.append(late)
                    del early  # its rounds would lie beside what adjusting the block takes
            del seen
        if wanted is not None:
            change = yield from self._adjust(block, waiting, wanted)
            del waiting, wanted
        if self.step.propagate == "start":
            self.stream.move_on(outputs)
        elif block is not self.stream.structure.blocks[-1]:
            self.stream.advance()
        return change

    def _adjust(
        self, block: Block, solved: list[LayerResult], wanted: HiddenStates
    ) -> Generator[LayerResult, None, BlockChange]:
        """Adjust the layers of a block together, and write what comes out into the model."""
        given = {one.linear.label: one.final for one in solved}
        found, change = adjust_block(self.stream, block, given, wanted, epochs=self.epochs, held_out=self.held_out)
        for one in solved:
            final = found[one.linear.label]
            one.linear.write(final.weight)
            yield replace(one, stages={"final": final})
        return change

    def _solve(self, linear: Linear, weight: Tensor, observed: Observed, recipe: Recipe) -> LayerResult:
        """Take a layer, with its dense weight (R, C), through the step, and write what comes out into the model."""
        began = time.monotonic()
        shift = None if observed.pull is None else self.beta * (weight @ observed.pull)
        problem = LayerProblem(weight, observed.gram, shift)
        result = self.step.solve(recipe, problem, linear)
        newest = list(result.stages.values())[-1]
        linear.write(newest.weight if isinstance(newest, Pruned) else newest)
        return LayerResult(
            linear=linear,
            problem=problem,
            held_out=LayerProblem(weight, observed.held_out) if observed.held_out else None,
            pattern=recipe.pattern,
            stages=result.stages,
            sparse=result.sparse,
            rounds=result.rounds,
            chosen=result.chosen,
            seconds=time.monotonic() - began,
        )
