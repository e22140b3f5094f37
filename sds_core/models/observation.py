"""Gram matrices of the inputs of a block's linears, from replays of the block over all windows.

`observe` sees a block as it is. `observe_groups` shows one group of linears after the other, those that share an input
together, each behind the groups that were solved and written before it. Where memory allows, that takes one forward in
all: the forward of every window pauses at a group's inputs and goes on, through the new weights, once the group is
solved. Otherwise, and where experts take turns within the forward, the block is replayed up to each group in turn. Both
give the same numbers.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sds_core.models.device import available_memory
from sds_core.models.hidden_states import HiddenStateFile, HiddenStates, empty_like
from sds_core.models.inputs import watching_inputs
from sds_core.models.linear import Linear
from sds_core.models.paused_forwards import PausedForwards, paused
from sds_core.models.stream import Stream
from sds_core.pruning.gram import Gram, GramAccumulator
from sds_core.pruning.stages import Scarcity

PAUSED_SIZE = 10
"""Most memory that a paused forward holds, in units of its hidden states: residual, normalised input, gate, up."""


@dataclass(frozen=True, eq=False)
class Observed:
    """The calibration statistics of one input tensor."""

    gram: Gram
    """An expert's is of the tokens routed to it, shrunk towards its diagonal if they are fewer than its inputs, and the
    identity, whose pruning is by magnitude, if there are none."""
    teacher_shift: Tensor | None
    """(X_dense Xᵀ − X Xᵀ) / N (C, C), where a dense stream runs beside."""
    held_out: Gram | None
    """The Gram matrix of the held-out windows, if any of their tokens reached these inputs."""
    scarcity: Scarcity = ""


class _Sums:
    """Accumulators for the inputs of some linears, those of held-out windows apart.

    An expert sees the tokens that are routed to it, in the dense model others than in the pruned one: it has no
    teacher's inputs to be paired with where it does not see all tokens of a window.
    """

    def __init__(self, heads: Sequence[Linear], stream: Stream, held_out: int, cross: bool):
        self._heads, self._seen = heads, len(stream.hidden) - held_out
        self._window_tokens = [state.numel() // state.shape[-1] for state in stream.hidden]
        columns = {linear.label: linear.shape[1] for linear in heads}
        block = stream.structure.blocks[stream.position]
        self._outputs = {head.label: sum(x.shape[0] for x in block.linears if x.input == head.label) for head in heads}
        self._device = stream.device
        self._own = {label: GramAccumulator(c, stream.device, cross=cross) for label, c in columns.items()}
        self._held_out = {label: GramAccumulator(c, stream.device) for label, c in columns.items() if held_out}

    def add(self, label: str, window: int, inputs: Tensor, dense_inputs: Tensor | None = None) -> None:
        if window < self._seen:
            routed = inputs.numel() // inputs.shape[-1] < self._window_tokens[window]
            paired = dense_inputs is not None and dense_inputs.shape == inputs.shape and not routed
            self._own[label].add(inputs, dense_inputs if paired else inputs)
        else:
            self._held_out[label].add(inputs)

    def observed(self) -> dict[str, Observed]:
        """By input label; each accumulator is freed as its matrix is made."""
        found = dict[str, Observed]()
        for linear in self._heads:
            own, other = self._own.pop(linear.label), self._held_out.pop(linear.label, None)
            found[linear.label] = self._one(linear, own, other if other and other.tokens else None)
        return found

    def _one(self, linear: Linear, own: GramAccumulator, other: GramAccumulator | None) -> Observed:
        outputs, columns = self._outputs[linear.label], linear.shape[1]
        held_out = other.gram(linear.name) if other else None
        if not own.tokens:
            identity = torch.eye(columns, device=self._device)
            return Observed(Gram(identity, linear.name, outputs), None, held_out, "no tokens")
        gram = own.gram(linear.name, outputs)
        if own.tokens >= min(columns, sum(self._window_tokens[: self._seen])):
            return Observed(gram, own.teacher_shift(), held_out)
        return Observed(gram.shrunk(1 - own.tokens / columns), own.teacher_shift(), held_out, "few tokens")


def heads_of(linears: Sequence[Linear]) -> list[Linear]:
    """The first linear of each set that shares an input: it stands for the others."""
    return [linear for linear in linears if linear.label == linear.input]


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
    heads = heads_of(linears or block.linears)
    sums = _Sums(heads, stream, held_out, cross=teacher is not None)
    outputs, teacher_outputs = empty_like(stream.hidden), empty_like(stream.hidden)
    with stream.running(block.module), stream.running(dense):
        for window in range(len(stream.hidden)):
            dense_inputs: dict[str, Tensor] = {}
            if teacher is not None:
                with _inputs(dense, heads, run_to_end) as dense_inputs:
                    teacher_outputs.append(teacher.replay(window, dense))
            with _inputs(block.module, heads, run_to_end) as inputs:
                outputs.append(stream.replay(window))
            for label, seen in inputs.items():
                sums.add(label, window, seen, dense_inputs.get(label))
    if teacher is not None and run_to_end:
        teacher.move_on(teacher_outputs)
    return sums.observed(), outputs if run_to_end else []


class _AllSeen(Exception):
    """All inputs were seen; the rest of the block is not needed."""


@contextmanager
def _inputs(block: nn.Module, linears: Sequence[Linear], run_to_end: bool) -> Iterator[dict[str, Tensor]]:
    """The inputs of a block's linears, by label, as they are called inside the `with`, which may end at the last."""
    found: dict[str, Tensor] = {}

    def note(label: str, inputs: Tensor) -> None:
        found[label] = inputs
        if len(found) == len(linears) and not run_to_end:
            raise _AllSeen

    with suppress(_AllSeen), watching_inputs(block, linears, note):
        yield found


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
    if not _fits(stream, teacher) or any(linear.routed for group in groups for linear in group):
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
    heads = [heads_of(group)[0] for group in groups]
    labels = [head.label for head in heads]
    with ExitStack() as stack:
        stack.enter_context(stream.running(block))
        own = stack.enter_context(paused(stream, block, labels))
        dense: PausedForwards | None = None
        if teacher is not None:
            assert teacher_block is not None
            stack.enter_context(teacher.running(teacher_block))
            dense = stack.enter_context(paused(teacher, teacher_block, labels))
        for place, (group, head) in enumerate(zip(groups, heads, strict=True)):
            sums = _Sums([head], stream, held_out, cross=dense is not None)
            for window in range(len(stream.hidden)):
                dense_inputs = dense.inputs(window, place) if dense else None
                if (inputs := own.inputs(window, place)) is not None:
                    sums.add(head.label, window, inputs, dense_inputs)
            yield group, sums.observed()
        if teacher is not None and dense is not None:
            teacher.move_on(dense.outputs())
        if pass_through:
            stream.move_on(own.outputs())


def _parts(group: Sequence[Linear], size: float) -> list[Sequence[Linear]]:
    """Return a group in parts with Gram matrices of at most `size` bytes, or of a single input."""
    parts: list[set[str]] = []
    left = 0.0
    for head in heads_of(group):
        needed = 4 * head.shape[1] ** 2
        if not parts or needed > left:
            parts.append(set())
            left = size
        parts[-1].add(head.label)
        left -= needed
    return [[linear for linear in group if linear.input in inputs] for inputs in parts]


def _fits(stream: Stream, teacher: Stream | None) -> bool:
    """Whether all windows can be paused at once; hidden states on disk say that memory is for weights alone."""
    if isinstance(stream.hidden, HiddenStateFile):
        return False
    size = len(stream.hidden) * stream.hidden[0].nbytes * (1 if teacher is None else 2)
    return PAUSED_SIZE * size < available_memory(stream.device) / 2
