"""One pass over a model's blocks: observe a block's inputs, solve its layers, send the data through it.

A pass knows neither pruners nor methods; it calls `PassPlan.solve` for each layer.
"""

import copy
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from sds_core.layer_result import LayerResult
from sds_core.models.block_change import BlockChange
from sds_core.models.block_parts import parts_of, teacher_part_outputs
from sds_core.models.block_reconstruction import adjust_block
from sds_core.models.device import synchronise
from sds_core.models.hidden_states import HiddenStates
from sds_core.models.input_sums import Observed
from sds_core.models.linear import Linear
from sds_core.models.observation import observe, observe_groups
from sds_core.models.stream import Stream, batches, capture
from sds_core.models.structure import Block, ModelStructure
from sds_core.pass_plan import PassPlan, PriorResults
from sds_core.pruning.lanes import as_they_come, in_turn
from sds_core.pruning.layer_problem import LayerProblem
from sds_core.pruning.pattern import Pattern
from sds_core.pruning.reconstruction import Reconstruction
from sds_core.pruning.stages import Stages

Reported = TypeVar("Reported")


@dataclass(frozen=True)
class BlockDone:
    """All layers of a block are solved and written; until the next event their weights can be read in the model."""

    block: int
    change: BlockChange | None = None
    """The effect of adjusting the block as a whole, if it was."""


def run_pass(
    structure: ModelStructure,
    windows: Tensor,
    plan: PassPlan,
    device: torch.device,
    prior: PriorResults,
    held_out: int,
    report: Callable[[LayerResult], Reported],
) -> Iterator[Reported | BlockDone]:
    """Apply the plan to every block of a dense model; afterwards the model holds the results.

    Args:
        structure: the model, its weights dense.
        windows: calibration token ids (n, T).
        plan: the treatment of each layer.
        device: where the work is done.
        prior: results of earlier passes, and of this one if it was interrupted.
        held_out: number of windows, the last ones, that no solver sees.
        report: what to yield of a layer; may be called in another thread, while others are solved.

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
    block_pass = BlockPass(stream, stream.fork() if plan.beta else None, plan, prior, held_out_batches, report)
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
class BlockPass(Generic[Reported]):
    """The state of a pass: the streams in front of the next block, which is still dense."""

    stream: Stream
    teacher: Stream | None
    """The same windows inside the dense model, where a share of its outputs is part of the target."""
    plan: PassPlan
    prior: PriorResults
    held_out: int
    """Number of batches of windows, the last ones, that no solver sees."""
    report: Callable[[LayerResult], Reported]

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

    def solve_block(self, block: Block) -> Generator[Reported, None, BlockChange | None]:
        """Observe a block, solve its layers, and send the data through it."""
        dense = {linear.label: linear.weight.clone() for linear in block.linears}
        reconstruction, unadjusted, change = self.plan.reconstruction, list[LayerResult](), None
        teacher_outputs = (
            teacher_part_outputs(self.teacher, block.module, parts_of(block, reconstruction.window, self.stream))
            if reconstruction and self.teacher
            else None
        )
        dense_block = self._write_prior(block)
        last = block is self.stream.structure.blocks[-1]
        for group, seen in self._observed(block, dense_block, pass_through=reconstruction is None and not last):
            yield from self._solve_group(block, group, seen, dense, unadjusted)
            del seen
        if reconstruction is not None:
            change = yield from self._adjust(block, unadjusted, dense, reconstruction, teacher_outputs)
            del unadjusted, teacher_outputs
            if not last:
                self.stream.advance()
        return change

    def _solve_group(
        self,
        block: Block,
        group: Sequence[Linear],
        seen: dict[str, Observed],
        dense: dict[str, Tensor],
        unadjusted: list[LayerResult],
    ) -> Iterator[Reported]:
        """Solve layers that do not see each other, and report each.

        Args:
            block: their block.
            group: the layers.
            seen: observations by input label. All are dropped here, those of each input once its layers are solved: the
                factorisations of one expert would stay in memory beside the next one's.
            dense: weights by label; dropped too, unless the block is adjusted as a whole.
            unadjusted: takes the final stages of the layers, if the block is adjusted as a whole.
        """
        whole, pattern, device = self.plan.reconstruction is not None, self.plan.pattern(block), self.stream.device

        def solve(given: tuple[Linear, Tensor, Observed]) -> tuple[Reported, LayerResult | None]:
            linear, weight, observed = given
            result, final = self._solve(linear, weight.to(device).float(), observed, pattern), None
            if whole:
                result, final = result.split_final()
            return self.report(result), final

        items = [
            (linear, dense[linear.label] if whole else dense.pop(linear.label), seen[linear.input]) for linear in group
        ]
        seen.clear()
        cost = lambda item: item[1].numel() * item[1].shape[1]
        each = as_they_come(solve, items, device, cost=cost) if self.plan.side_by_side else in_turn(solve, items)
        del items
        for reported, final in each:
            if final is not None:
                unadjusted.append(final)
            yield reported
            del reported  # its rounds would stay in memory beside the next layer's, or while the block is adjusted

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
    ) -> Generator[Reported, None, BlockChange]:
        """Adjust the layers of a block together, and write the result into the model."""
        given = {layer.linear.label: layer.final for layer in solved}
        beta, held_out = self.plan.beta, self.held_out
        found, change = adjust_block(
            self.stream, block, dense, given, reconstruction, teacher_outputs=teacher, beta=beta, held_out=held_out
        )
        for layer in solved:
            final = found[layer.linear.label]
            layer.linear.write(final.weight)
            yield self.report(replace(layer, stages=Stages(final=final)))
        return change
