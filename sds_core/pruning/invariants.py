"""Invariants of any pruner's result on any layer, cheap enough to check on every layer of a real model."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sds_core.pruning.layer_problem import LayerProblem, Pruned
from sds_core.pruning.pattern import NM, Pattern


@dataclass(frozen=True)
class Invariant:
    """One property of a result."""

    expected: str
    """The property, as a noun phrase."""
    violation: Callable[[Pruned, LayerProblem, Pattern], str | None]
    """Return what the result has instead, or None if the property holds."""


@dataclass(frozen=True)
class Violation:
    """An invariant that a result violates."""

    name: str
    actual: str
    """The actual state of the result."""

    @property
    def message(self) -> str:
        """One clause: what was expected and what the pruner returned."""
        return f"expected {INVARIANTS[self.name].expected}; got {self.actual}"


def violation(pruned: Pruned, problem: LayerProblem, pattern: Pattern) -> Violation | None:
    """Return the first invariant that a result violates, or None for a valid result."""
    for name, invariant in INVARIANTS.items():
        if actual := invariant.violation(pruned, problem, pattern):
            return Violation(name, actual)
    return None


def _structure(pruned: Pruned, problem: LayerProblem, pattern: Pattern) -> str | None:
    if not isinstance(pruned, Pruned):
        return f"a {type(pruned).__name__}"
    for name, value in vars(pruned).items():
        if not isinstance(value, Tensor):
            return f"a {name} of type {type(value).__name__}"
        if value.shape != problem.weight.shape or value.device != problem.weight.device:
            expected = f"{shape_of(problem.weight)} on {problem.weight.device}"
            return f"a {name} of shape {shape_of(value)} on {value.device} for a layer of {expected}"
    return None


def _dtype(pruned: Pruned, problem: LayerProblem, pattern: Pattern) -> str | None:
    if (pruned.weight.dtype, pruned.mask.dtype) == (problem.weight.dtype, torch.bool):
        return None
    returned = f"a {dtype_of(pruned.weight)} weight and a {dtype_of(pruned.mask)} mask"
    return f"{returned} for a {dtype_of(problem.weight)} layer"


def _finite(pruned: Pruned, problem: LayerProblem, pattern: Pattern) -> str | None:
    count = int((~pruned.weight.isfinite()).sum())
    return f"{count} weights that are not finite" if count else None


def _zeros(pruned: Pruned, problem: LayerProblem, pattern: Pattern) -> str | None:
    count = int((pruned.weight[~pruned.mask] != 0).sum())
    return f"{count} pruned weights that are not zero" if count else None


def _sparsity(pruned: Pruned, problem: LayerProblem, pattern: Pattern) -> str | None:
    if isinstance(pattern, NM):
        kept = pruned.mask.reshape(-1, pattern.group).sum(dim=1)
        wrong = kept[kept != pattern.keep]
        return f"{int(wrong[0])} kept in {len(wrong)} of {len(kept)} groups of {pattern}" if len(wrong) else None
    exact = lambda part: int((~part).sum()) == int(pattern.ratio * part.numel())
    if any(all(map(exact, parts)) for parts in ([pruned.mask], pruned.mask, pruned.mask.split(128, dim=1))):
        return None
    return f"{int((~pruned.mask).sum())} of {pruned.mask.numel()} pruned at {pattern}"


def shape_of(tensor: Tensor) -> str:
    """Return a tensor's shape as text, such as 6×40."""
    return "×".join(map(str, tensor.shape))


def dtype_of(tensor: Tensor) -> str:
    """Return a tensor's dtype as text, such as float32."""
    return str(tensor.dtype).removeprefix("torch.")


INVARIANTS = {
    "structure": Invariant("a Pruned whose weight and mask have the layer's shape and device", _structure),
    "dtype": Invariant("a weight of the layer's dtype and a boolean mask", _dtype),
    "finite": Invariant("finite weights", _finite),
    "zeros": Invariant("zero weights wherever the mask prunes", _zeros),
    "sparsity": Invariant(
        "the exact sparsity of the pattern: in every group for N:M, otherwise over the layer, every row or every 128 "
        "columns",
        _sparsity,
    ),
}
"""Every invariant by name. Each may rely on those before it."""
