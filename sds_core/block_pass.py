"""One pass over a model's blocks: observe a block's inputs, solve its layers, send the data through it.

A pass knows neither pruners nor methods; it calls `PassPlan.solve` for each layer.
"""

import copy
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from sds_core.layer_result import LayerResult
from sds_core.models.block_change import BlockChange
from sds_core.models.block_parts import parts_of, teacher_part_outputs
from sds_core.models.block_reconstruction import adjust_block
from sds_core.models.device import synchronise
from sds_core.models.hidden_states import HiddenStates
from sds_core.models.linear import Linear
from sds_core.models.observation import Observed, observe, observe_groups
from sds_core.models.stream import Stream, batches, capture
from sds_core.models.structure import Block, ModelStructure
from sds_core.pruning.layer_problem import LayerProblem, Pruned
from sds_core.pruning.pattern import Pattern
from sds_core.pruning.reconstruction import Reconstruction
from sds_core.pruning.stages import Stages


@dataclass(frozen=True)
class BlockDone:
    """All layers of a block are solved and written; until the next event their weights can be read in the model."""

    block: int
    change: BlockChange | None = None
    """The effect of adjusting the block as a whole, if it was."""


class PriorResults(Protocol):
    """Stored results of earlier passes, and of this one if it was interrupted."""

    @property
    def finished(self) -> int:
        """Number of blocks that this pass has done already, counted from the first."""
        ...

    def restore(self, block: Block) -> None:
        """Write this pass's result for a block into the model; the block may have been done since the pass began."""
        ...

    def sparse(self, linear: Linear) -> Pruned:
        """The result of phase 1."""
        ...

    def redense(self, linear: Linear) -> Tensor:
        """The result of phase 2 (R, C)."""
        ...


@dataclass(frozen=True, kw_only=True)
class PassPlan:
    """The treatment of each layer in a pass, and the weights through which data flows to later blocks."""

    solve: Callable[[LayerResult], LayerResult]
    """Add this pass's stages to a layer."""
    pattern: Callable[[Block], Pattern]
    prior: Callable[[Linear], Stages] | None = None
    """Stages from earlier passes, on the CPU. A block is observed with the newest; without a function, dense."""
    propagate: Literal["prior", "result"] = "result"
    """The weights with which a block feeds later ones; phase 2 observes inputs inside the sparse model."""
    bfloat16: bool = False
    """Whether the products of forward passes are in bfloat16, of a model in float32 (`models/bfloat16.py`)."""
    beta: float = 0.0
    """Share of the dense model's outputs in a layer's target."""
    sequential: bool = False
    """Whether each layer sees the outputs of the solved layers before it in its block."""
    reconstruction: Reconstruction | None = None
    """How parts of a block are adjusted once its layers are solved; None where they are not."""


def run_pass(
    structure: ModelStructure,
    windows: Tensor,
    plan: PassPlan,
    device: torch.device,
    prior: PriorResults,
    held_out: int = 0,
) -> Iterator[LayerResult | BlockDone]:
    """Apply the plan to every block of a dense model; afterwards the model holds the results.

    Args:
        structure: the model, its weights dense.
        windows: calibration token ids (n, T).
        plan: the treatment of each layer.
        device: where the work is done.
        prior: results of earlier passes, and of this one if it was interrupted.
        held_out: number of windows, the last ones, that no solver sees.

    Raises:
        SDSError: a layer's width does not fit the pattern.
    """
    for block in structure.blocks:
        for linear in block.linears:
            plan.pattern(block).check(linear.shape[1], linear.name)
    one_by_one = plan.reconstruction is not None  # a step of its optimiser looks at one window
    held_out_batches = held_out if one_by_one else len(batches(windows[len(windows) - held_out :], device))
    taken = windows if one_by_one else batches(windows, device, held_out)
    stream = capture(structure, taken, device, plan.bfloat16)
    block_pass = BlockPass(stream, stream.fork() if plan.beta else None, plan, prior, held_out_batches)
    for block in structure.blocks:
        done, change = block.index < prior.finished, None
        with structure.store.resident(block.module):
            if done or not block.linears:
                block_pass.replay_done(block)
            else:
                change = yield from block_pass.solve_block(block)
            structure.store.reapply_on_load(block.module, partial(prior.restore, block))
            if not done:
                yield BlockDone(block.index, change)


@dataclass(frozen=True, eq=False)
class BlockPass:
    """The state of a pass: the streams in front of the next block, which is still dense."""

    stream: Stream
    teacher: Stream | None
    """The same windows inside the dense model, where a share of its outputs is part of the target."""
    plan: PassPlan
    prior: PriorResults
    held_out: int
    """Number of batches of windows, the last ones, that no solver sees."""

    def replay_done(self, block: Block) -> None:
        """Send the data through a block that is done already."""
        dense_block = self._write_prior(block)
        if self.teacher:
            self.teacher.advance(dense_block)
        if self.plan.propagate == "prior":
            self.stream.advance()
        self.prior.restore(block)
        if self.plan.propagate == "result":
            self.stream.advance()

    def solve_block(self, block: Block) -> Generator[LayerResult, None, BlockChange | None]:
        """Observe a block, solve its layers one by one, and send the data through it."""
        dense = {linear.label: linear.weight.clone() for linear in block.linears}
        reconstruction, unadjusted, change = self.plan.reconstruction, list[LayerResult](), None
        teacher_outputs = (
            teacher_part_outputs(self.teacher, block.module, parts_of(block, reconstruction.window))
            if reconstruction and self.teacher
            else None
        )
        dense_block = self._write_prior(block)
        last = block is self.stream.structure.blocks[-1]
        for group, seen in self._observed(block, dense_block, pass_through=reconstruction is None and not last):
            last_of = {linear.input: linear for linear in group}
            for linear in group:
                weight = dense[linear.label].to(self.stream.device).float()
                if reconstruction is None:
                    del dense[linear.label]
                # the factorisations of one expert would stay in memory beside the next one's
                observed = seen.pop(linear.input) if linear is last_of[linear.input] else seen[linear.input]
                result = self._solve(linear, weight, observed, self.plan.pattern(block))
                del observed
                if reconstruction is not None:
                    result, final = result.split_final()
                    unadjusted.append(final)
                yield result
                del result  # its rounds would stay in memory beside the next layer's, or while the block is adjusted
            del seen
        if reconstruction is not None:
            change = yield from self._adjust(block, unadjusted, dense, reconstruction, teacher_outputs)
            del unadjusted, teacher_outputs
            if not last:
                self.stream.advance()
        return change

    def _observed(
        self, block: Block, dense_block: nn.Module | None, pass_through: bool
    ) -> Iterator[tuple[Sequence[Linear], dict[str, Observed]]]:
        """Yield groups of a block's linears with their observations; the caller solves each before the next.

        Args:
            block: the next block of the stream.
            dense_block: a dense copy for the teacher, if it needs one.
            pass_through: whether to send the data through the solved block at the end.
        """
        if self.plan.sequential:
            yield from observe_groups(self.stream, block.groups, self.teacher, dense_block, self.held_out, pass_through)
            return
        seen, outputs = observe(self.stream, self.teacher, dense_block, self.held_out)
        yield block.linears, seen
        del seen  # its factorisations would stay in memory while the data goes through the block
        if self.plan.propagate == "prior":
            self.stream.move_on(outputs)
        elif pass_through:
            self.stream.advance()

    def _write_prior(self, block: Block) -> nn.Module | None:
        """Give a block the weights it is observed with.

        Returns:
            A copy of the dense block for the teacher, if the teacher needs one.
        """
        prior = self.plan.prior
        dense_block = copy.deepcopy(block.module) if self.teacher and (prior or self.plan.sequential) else None
        if prior:
            for linear in block.linears:
                linear.write(prior(linear).newest.weight)
        return dense_block

    def _solve(self, linear: Linear, weight: Tensor, observed: Observed, pattern: Pattern) -> LayerResult:
        """Solve a layer, given its dense weight (R, C), and write the result into the model."""
        began = time.monotonic()
        shift = None if observed.teacher_shift is None else self.plan.beta * (weight @ observed.teacher_shift)
        layer = LayerResult(
            linear=linear,
            problem=LayerProblem(weight, observed.gram, shift),
            held_out=LayerProblem(weight, observed.held_out) if observed.held_out else None,
            pattern=pattern,
            scarcity=observed.scarcity,
            prior=self.plan.prior(linear).to(weight.device) if self.plan.prior else Stages(),
        )
        solved = self.plan.solve(layer)
        linear.write(solved.stages.newest.weight)
        synchronise(weight.device)
        return replace(solved, seconds=time.monotonic() - began)

    def _adjust(
        self,
        block: Block,
        solved: list[LayerResult],
        dense: dict[str, Tensor],
        reconstruction: Reconstruction,
        teacher: list[HiddenStates] | None,
    ) -> Generator[LayerResult, None, BlockChange]:
        """Adjust the layers of a block together, and write the result into the model."""
        given = {layer.linear.label: layer.final for layer in solved}
        beta, held_out = self.plan.beta, self.held_out
        found, change = adjust_block(
            self.stream, block, dense, given, reconstruction, teacher_outputs=teacher, beta=beta, held_out=held_out
        )
        for layer in solved:
            final = found[layer.linear.label]
            layer.linear.write(final.weight)
            yield replace(layer, stages=Stages(final=final))
        return change
