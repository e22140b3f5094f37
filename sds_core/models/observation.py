"""Gram matrices of the inputs of a block's linears, from replays of the block over all windows.

`observe` sees a block as it is. `observe_groups` shows one group of linears after the other, those that share an input
together, each behind the groups that were solved and written before it. Where memory allows, that takes one forward in
all: the forward of every window pauses at a group's inputs and goes on, through the new weights, once the group is
solved. Otherwise, and where experts take turns within the forward, the block is replayed up to each group in turn. Both
give the same numbers.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from sds_core.models.device import available_memory
from sds_core.models.hidden_states import HiddenStateFile, HiddenStates, empty_like
from sds_core.models.input_sums import InputSums, Observed, leaders_of
from sds_core.models.inputs import Noting, watching_inputs
from sds_core.models.linear import Linear
from sds_core.models.paused_forwards import PausedForwards, paused
from sds_core.models.stream import Stream
from sds_core.pruning.lanes import lanes, side_by_side

PAUSED_SIZE = 10
"""Most memory that a paused forward holds, in units of its hidden states: residual, normalised input, gate, up."""


def observe(
    stream: Stream,
    teacher: Stream | None = None,
    teacher_block: nn.Module | None = None,
    held_out: int = 0,
    linears: Sequence[Linear] | None = None,
    run_to_end: bool = True,
) -> tuple[dict[str, Observed], HiddenStates]:
    """Replay the next block over all windows and collect the Gram matrices of its linears' inputs.

    Args:
        stream: the calibration windows; not advanced.
        teacher: the same windows in the dense model, advanced one block on the way.
        teacher_block: the dense block, where the model's own block has changed already.
        held_out: number of windows, the last ones, that get Gram matrices of their own.
        linears: which of the block's linears; all by default.
        run_to_end: otherwise a replay stops once all inputs are seen, and the teacher stays where it is.

    Returns:
        Observations by input label (`Linear.input`), and the block's outputs for `Stream.move_on`, none if stopped.
    """
    block = stream.structure.blocks[stream.position]
    dense = teacher_block or block.module
    leaders = leaders_of(linears or block.linears)
    sums = InputSums(leaders, stream, held_out, cross=teacher is not None)
    outputs, teacher_outputs = empty_like(stream.hidden), empty_like(stream.hidden)
    stop_after = None if run_to_end else len(leaders)
    with (
        stream.running(block.module),
        stream.running(dense),
        watching_inputs(block.module, leaders) as noting,
        watching_inputs(dense, leaders) as noting_dense,
    ):

        def run(window: int) -> tuple[_Forward, _Forward | None]:
            own = _forward(partial(stream.replay, window), noting, stop_after)
            return own, None if teacher is None else _forward(
                partial(teacher.replay, window, dense), noting_dense, stop_after
            )

        def note(window: int, own: _Forward, taught: _Forward | None) -> None:
            for label, inputs in own.inputs.items():
                sums.add(label, window, inputs, taught.inputs.get(label) if taught else None)
            if run_to_end:
                outputs.append(own.output)
            if run_to_end and taught:
                teacher_outputs.append(taught.output)

        windows = range(len(stream.hidden))
        at_a_time = lanes(len(windows), stream.device)
        for first in windows[::at_a_time]:  # the inputs of a few windows are in memory at once
            for window, forwards in enumerate(
                side_by_side(run, windows[first : first + at_a_time], stream.device), first
            ):
                note(window, *forwards)
            del forwards
            sums.sum_up()
    if teacher is not None and run_to_end:
        teacher.move_on(teacher_outputs)
    return sums.observed(), outputs


class _AllSeen(Exception):
    """All inputs were seen; the rest of the block is not needed."""


@dataclass(frozen=True, eq=False)
class _Forward:
    """The inputs of a block's linears in a forward, by label, and the block's output if it was run to its end."""

    inputs: dict[str, Tensor]
    output: Tensor


def _forward(replay: Callable[[], Tensor], noting: Noting, stop_after: int | None) -> _Forward:
    """Run a forward to its end, or until that many linears were called."""
    found: dict[str, Tensor] = {}

    def note(label: str, inputs: Tensor) -> None:
        found[label] = inputs
        if len(found) == stop_after:
            raise _AllSeen

    output = torch.empty(0)
    with suppress(_AllSeen), noting(note):
        output = replay()
    return _Forward(found, output)


def observe_groups(
    stream: Stream,
    groups: Sequence[Sequence[Linear]],
    teacher: Stream | None = None,
    teacher_block: nn.Module | None = None,
    held_out: int = 0,
    pass_through: bool = True,
) -> Iterator[tuple[Sequence[Linear], dict[str, Observed]]]:
    """Yield the observations of each group; the caller solves and writes its linears before it asks for the next.

    A group of experts comes in several parts where the Gram matrices of all do not fit: none of them sees another.

    Args:
        stream: the calibration windows, advanced behind the block at the end if `pass_through`.
        groups: the block's linears by shared input, in the order of their calls (`Block.groups`).
        teacher: the same windows in the dense model, advanced one block on the way.
        teacher_block: the dense block, for the model's own block changes.
        held_out: number of windows, the last ones, that get Gram matrices of their own.
        pass_through: whether to send the data through the block with its final weights.

    Yields:
        The linears of a group or of a part of it, and their observations by input label.

    Raises:
        SDSError: the block calls its linears in an order that depends on the text.
    """
    if not _fits(stream, teacher) or stream.structure.blocks[stream.position].routed:
        copies = 1 + (teacher is not None) + (held_out > 0)
        parts = [part for group in groups for part in _parts(group, available_memory(stream.device) / (4 * copies))]
        for part in parts:
            yield part, observe(stream, teacher, teacher_block, held_out, part, part is parts[-1])[0]
        if pass_through:
            stream.advance()
        return
    yield from _observe_paused(stream, groups, teacher, teacher_block, held_out, pass_through)


def _observe_paused(
    stream: Stream,
    groups: Sequence[Sequence[Linear]],
    teacher: Stream | None,
    teacher_block: nn.Module | None,
    held_out: int,
    pass_through: bool,
) -> Iterator[tuple[Sequence[Linear], dict[str, Observed]]]:
    """Yield as `observe_groups` does, from one forward pass a window that pauses in front of every group."""
    block = stream.structure.blocks[stream.position].module
    leaders = [leaders_of(group)[0] for group in groups]
    labels = [leader.label for leader in leaders]
    with ExitStack() as stack:
        stack.enter_context(stream.running(block))
        own = stack.enter_context(paused(stream, block, labels))
        dense: PausedForwards | None = None
        if teacher is not None:
            assert teacher_block is not None
            stack.enter_context(teacher.running(teacher_block))
            dense = stack.enter_context(paused(teacher, teacher_block, labels))
        for place, (group, leader) in enumerate(zip(groups, leaders, strict=True)):
            sums = InputSums([leader], stream, held_out, cross=dense is not None)
            dense_inputs = dense.inputs(place) if dense else [None] * len(stream.hidden)
            for window, (inputs, taught) in enumerate(zip(own.inputs(place), dense_inputs, strict=True)):
                if inputs is not None:
                    sums.add(leader.label, window, inputs, taught)
            sums.sum_up()
            del inputs, taught, dense_inputs
            yield group, sums.observed()
        if teacher is not None and dense is not None:
            teacher.move_on(dense.outputs())
        if pass_through:
            stream.move_on(own.outputs())


def _parts(group: Sequence[Linear], size: float) -> list[Sequence[Linear]]:
    """Return a group in parts with Gram matrices of at most `size` bytes, or of a single input."""
    parts: list[set[str]] = []
    left = 0.0
    for leader in leaders_of(group):
        needed = 4 * leader.shape[1] ** 2
        if not parts or needed > left:
            parts.append(set())
            left = size
        parts[-1].add(leader.label)
        left -= needed
    return [[linear for linear in group if linear.input in inputs] for inputs in parts]


def _fits(stream: Stream, teacher: Stream | None) -> bool:
    """Whether all windows can be paused at once; hidden states on disk say that memory is for weights alone."""
    if isinstance(stream.hidden, HiddenStateFile):
        return False
    size = len(stream.hidden) * stream.hidden[0].nbytes * (1 if teacher is None else 2)
    return PAUSED_SIZE * size < available_memory(stream.device) / 2
