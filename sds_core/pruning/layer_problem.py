"""The pruning problem of one linear layer: the quadratic that every phase minimises."""

from dataclasses import dataclass, field
from functools import cached_property
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from sds_core.pruning.gram import Gram, GramAccumulator
from sds_core.pruning.linalg import curvature, inner


@dataclass(frozen=True)
class Pruned:
    """A pruned weight and its mask; sparsity is counted on the mask, since a kept weight may be exactly zero."""

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

    alpha: float = 0.0
    """Shrinkage of `gram`, where this is a shrunk problem."""
    observed: "LayerProblem | None" = None
    """The problem before it was shrunk."""

    _shrunk: WeakValueDictionary[float, "LayerProblem"] = field(
        default_factory=WeakValueDictionary, init=False, repr=False
    )
    """Weak references: in a reference cycle, a solved layer's matrices would wait for the garbage collector."""

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
    def dense_product(self) -> Tensor:
        """W H (R, C); of a shrunk problem (1−α) W H + α W diag(H), without another product."""
        if self.observed is None:
            return self.weight @ self.gram.matrix
        own = self.weight * self.gram.matrix.diagonal()
        return torch.lerp(self.observed.dense_product, own, self.alpha)

    @cached_property
    def rhs(self) -> Tensor:
        """B (R, C)."""
        return self.dense_product if self.shift is None else self.dense_product + self.shift

    @cached_property
    def scaled_weight(self) -> Tensor:
        """W in Jacobi coordinates, W_ij·s_j (R, C)."""
        return self.weight * self.gram.scale

    @cached_property
    def scaled_rhs(self) -> Tensor:
        """B in Jacobi coordinates, B_ij / s_j (R, C)."""
        return self.rhs / self.gram.scale

    @cached_property
    def _energy(self) -> Tensor:
        """tr(W H Wᵀ): the mean square of the dense layer's outputs, summed over outputs."""
        if "dense_product" in vars(self):
            return inner(self.dense_product, self.weight)
        return curvature(self.weight, self.gram.matrix)

    def loss(self, weight: Tensor) -> float:
        """(f(V) − f(W)) / tr(W H Wᵀ) for V (R, C): the objective by which solvers choose, relative to the dense weight.

        Without a shift this is the output error, 0 for the dense weight and 1 for zeros. With one it may be negative.
        """
        change = weight - self.weight
        if self.shift is None:
            return float(self.energy(change))
        return float(self.energy(change) - self._relative(2 * inner(change, self.shift)))

    def output_error(self, weight: Tensor) -> Tensor:
        """‖(V − W) X‖² / ‖W X‖² for V (R, C), whatever the target is: the energy of the change."""
        return self.energy(weight - self.weight)

    def energy(self, change: Tensor) -> Tensor:
        """tr(D H Dᵀ) / tr(W H Wᵀ) = ‖D X‖² / ‖W X‖² for D (R, C): the effect of a change of weights on the outputs.

        A float64 scalar tensor, without waiting for the device.
        """
        return self._relative(curvature(change, self.gram.matrix))

    def observed_energy(self, change: Tensor, product: Tensor) -> Tensor:
        """Return the energy of D (R, C) on the problem as observed, given D H̃_α (R, C) of this one.

        Solvers know D H̃_α from their own equations, which spares a product with H; and small numbers are summed, where
        the traces of V and of W would cancel. tr(D H Dᵀ) = [tr(D H_α Dᵀ) − α tr(D diag(H) Dᵀ)] / (1 − α), but near
        α = 1 the quotient would be of rounding.
        """
        observed = self.observed or self
        if self.alpha > 0.9:
            return observed.energy(change)
        diagonal = inner(change * self.gram.diagonal, change) if self.alpha else 0.0
        shrunk = inner(product, change * self.gram.scale)
        return observed._relative((shrunk - self.alpha * diagonal) / (1 - self.alpha))

    def _relative(self, number: Tensor) -> Tensor:
        """A number relative to the energy of the dense layer's outputs; 0 where these are all zero."""
        return torch.where(self._energy > 0, number / self._energy, 0.0)

    def shrunk(self, alpha: float) -> "LayerProblem":
        """The same problem with H_α instead of H, and B = W H_α + shift (see `Gram.shrunk`); cached while in use."""
        shrunk = self._shrunk.get(alpha)
        if shrunk is None:
            shrunk = LayerProblem(self.weight, self.gram.shrunk(alpha), self.shift, alpha, self)
            self._shrunk[alpha] = shrunk
        return shrunk
