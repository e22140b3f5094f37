"""Gram matrices of the inputs of a block's linears, summed over windows of calibration data."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sds_core.models.linear import Linear
from sds_core.models.stream import Stream
from sds_core.pruning.gram import Gram, GramAccumulator, PartOfSum
from sds_core.pruning.lanes import side_by_side
from sds_core.pruning.stages import Scarcity


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


class InputSums:
    """Accumulators for the inputs of some linears, those of held-out windows apart.

    An expert sees the tokens that are routed to it, in the dense model others than in the pruned one: it has no
    teacher's inputs to be paired with where it does not see all tokens of a window.
    """

    def __init__(self, leaders: Sequence[Linear], stream: Stream, held_out: int, cross: bool):
        self._leaders, self._seen = leaders, len(stream.hidden) - held_out
        self._window_tokens = stream.tokens
        columns = {linear.label: linear.shape[1] for linear in leaders}
        block = stream.structure.blocks[stream.position]
        self._outputs = {
            leader.label: sum(x.shape[0] for x in block.linears if x.input == leader.label) for leader in leaders
        }
        self._device = stream.device
        self._own = {label: GramAccumulator(c, stream.device, cross=cross) for label, c in columns.items()}
        self._held_out = {label: GramAccumulator(c, stream.device) for label, c in columns.items() if held_out}
        self._noted: dict[GramAccumulator, list[tuple[Tensor, Tensor | None]]] = {}

    def add(self, label: str, window: int, inputs: Tensor, dense_inputs: Tensor | None = None) -> None:
        """Note the inputs of a window, to be added behind those of earlier windows."""
        if window < self._seen:
            routed = inputs.numel() // inputs.shape[-1] < self._window_tokens[window]
            paired = dense_inputs is not None and dense_inputs.shape == inputs.shape and not routed
            self._noted.setdefault(self._own[label], []).append((inputs, dense_inputs if paired else inputs))
        else:
            self._noted.setdefault(self._held_out[label], []).append((inputs, None))

    def sum_up(self) -> None:
        """Add what was noted, which is then let go."""
        parts = [part for sums, noted in self._noted.items() for part in sums.adding(noted)]
        side_by_side(PartOfSum.add, parts, self._device, cost=lambda part: part.cost)
        self._noted.clear()

    def observed(self) -> dict[str, Observed]:
        """By input label; each accumulator is freed as its matrix is made."""
        found = dict[str, Observed]()
        for linear in self._leaders:
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


def leaders_of(linears: Sequence[Linear]) -> list[Linear]:
    """Return the first linear of each set that shares an input: it stands for the others."""
    return [linear for linear in linears if linear.label == linear.input]
