"""The pruning problem of one linear layer: the quadratic that every phase minimises."""

from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from sds_core.pruning.gram import Gram, GramAccumulator


@dataclass(frozen=True)
class Pruned:
    """A pruned weight and its mask; sparsity is counted on the mask, for a kept weight may be exactly zero."""

    weight: Tensor
    """(R, C), zero where the mask is False."""
    mask: Tensor
    """bool (R, C), True where kept."""

    def to(self, device: torch.device) -> "Pruned":
        """Return the same on another device."""
        return Pruned(self.weight.to(device), self.mask.to(device))

    @property
    def sparsity(self) -> float:
        """Share of pruned weights, counted on the mask."""
        return 1 - int(self.mask.sum()) / self.mask.numel()


@dataclass(frozen=True, eq=False)
class LayerProblem:
    """min over V of f(V) = ‖Y − V X‖² / N = tr(V H Vᵀ) − 2 tr(V Bᵀ) + const, with gradient 2 (V H − B).

    H = X Xᵀ / N and B = Y Xᵀ / N are sufficient statistics of the calibration data, whatever N is. With the dense
    layer's outputs on the same inputs as target, B = W H.
    """

    weight: Tensor
    """W, the dense weight (R, C), float32 or float64."""
    gram: Gram
    """H of the inputs, (C, C)."""
    shift: Tensor | None = None
    """B − W H (R, C) where a share β of the target is the teacher's output: β·W (X_dense − X) Xᵀ / N."""

    _shrunk: dict[float, "LayerProblem"] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        assert self.weight.ndim == 2 and self.weight.shape[1] == len(self.gram.matrix)
        assert self.weight.dtype == self.gram.matrix.dtype

    @classmethod
    def from_inputs(cls, weight: Tensor, inputs: Tensor, name: str = "this layer") -> "LayerProblem":
        """From W (R, C) and inputs X (C, N); in float64 if W is, else in float32."""
        if weight.dtype == torch.float64:
            return cls(weight, Gram(inputs @ inputs.T / inputs.shape[1], name))
        sums = GramAccumulator(len(inputs), inputs.device)
        sums.add(inputs.T)
        return cls(weight.float(), sums.gram(name))

    @classmethod
    def from_gram(cls, weight: Tensor, gram: Tensor, name: str = "this layer") -> "LayerProblem":
        """From W (R, C) and H (C, C)."""
        dtype = torch.float64 if weight.dtype == torch.float64 else torch.float32
        return cls(weight.to(dtype), Gram(gram.to(dtype), name))

    @cached_property
    def rhs(self) -> Tensor:
        """B (R, C)."""
        own = self.weight @ self.gram.matrix
        return own if self.shift is None else own + self.shift

    @cached_property
    def scaled_weight(self) -> Tensor:
        """W in Jacobi coordinates, W_ij·s_j (R, C)."""
        return self.weight * self.gram.scale

    @cached_property
    def scaled_rhs(self) -> Tensor:
        """B in Jacobi coordinates, B_ij / s_j (R, C)."""
        return self.rhs / self.gram.scale

    @cached_property
    def _energy(self) -> float:
        """tr(W H Wᵀ): the mean square of the dense layer's outputs, summed over outputs."""
        return float(((self.weight @ self.gram.matrix) * self.weight).sum())

    def loss(self, weight: Tensor) -> float:
        """(f(V) − f(W)) / tr(W H Wᵀ) for V (R, C): the output error relative to the output's energy.

        Without a shift this is ‖(V − W) X‖² / ‖W X‖²: 0 for the dense weight, 1 for zeros.
        """
        change = weight - self.weight
        excess = self.energy(change)
        if self.shift is not None and self._energy > 0:
            excess -= 2 * float((change * self.shift).sum()) / self._energy
        return excess

    def energy(self, change: Tensor) -> float:
        """tr(D H Dᵀ) / tr(W H Wᵀ) = ‖D X‖² / ‖W X‖² for D (R, C): the effect of a change of weights on the outputs."""
        moved = float(((change @ self.gram.matrix) * change).sum())
        return moved / self._energy if self._energy > 0 else 0.0

    def shrunk(self, alpha: float) -> "LayerProblem":
        """The same problem with H_α instead of H, and B = W H_α + shift (see `Gram.shrunk`); computed once per α."""
        if alpha not in self._shrunk:
            self._shrunk[alpha] = LayerProblem(self.weight, self.gram.shrunk(alpha), self.shift)
        return self._shrunk[alpha]
