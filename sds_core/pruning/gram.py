"""The Gram matrix of a layer's inputs: all that pruning and reconstruction need of the calibration data."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from threading import RLock

import torch
from torch import Tensor

from sds_core.errors import SDSError
from sds_core.pruning import linalg
from sds_core.pruning.lanes import lanes, side_by_side
from sds_core.pruning.precision import double

INVERSES = 256 << 20
"""Bytes of inverses (H̃ + ρI)⁻¹ that a Gram matrix keeps for the linears that share it."""


class Gram:
    """H = X Xᵀ / N of inputs X (C, N), with every factorisation computed at most once.

    Linear layers that receive the same input share one `Gram`, hence its factorisations.

    Jacobi scaling: with s_j = √H_jj, H̃ = H / (s sᵀ) has a unit diagonal, and |W_ij|·s_j is Wanda's score. A dead
    input (H_jj = 0) gets a tiny positive s_j, which avoids division by zero and gets its weights pruned first.

    Args:
        matrix: H, symmetric (C, C), float32 or float64.
        name: the layer's name, for error messages.
        outputs: number of outputs of all layers that share these inputs; decides how systems are solved.

    Raises:
        SDSError: H is not finite.
    """

    def __init__(self, matrix: Tensor, name: str = "this layer", outputs: int = 0):
        assert matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1]
        assert matrix.dtype in (torch.float32, torch.float64)
        if not linalg.all_finite(matrix):
            raise SDSError(
                f"the Gram matrix of the inputs of {name} is not finite",
                cure="the activations overflow: load the model in float32, or check it for broken weights",
            )
        self.matrix = matrix
        self.name, self.outputs = name, outputs
        self._inverses: dict[float, Tensor] = {}
        self._shrunk: dict[float, Gram] = {}
        self._factors: dict[float, Tensor] = {}
        self._factorising = RLock()  # layers that share it may be solved side by side

    @cached_property
    def diagonal(self) -> Tensor:
        """H_jj (C,): the mean square of each input."""
        return self.matrix.diagonal().clamp_min(0)

    @cached_property
    def norms(self) -> Tensor:
        """√H_jj (C,), zero for dead inputs: Wanda's ‖X_j‖₂ up to the factor √N, which these inputs share."""
        return self.diagonal.sqrt()

    @cached_property
    def dead(self) -> Tensor:
        """Mask (C,) of the inputs that were zero in every calibration token."""
        return self.diagonal == 0

    @cached_property
    def scale(self) -> Tensor:
        """s (C,), positive."""
        floor = 1e-14 * self.diagonal.max()
        return torch.maximum(self.diagonal, torch.where(floor > 0, floor, 1.0)).sqrt()

    @cached_property
    def scaled(self) -> Tensor:
        """H̃ = H / (s sᵀ), (C, C)."""
        return self.matrix / self.scale / self.scale[:, None]

    @cached_property
    def top_eigenvalue(self) -> float:
        """Largest eigenvalue λ of H̃ by power iteration, raised by 2 % so that a step of 1/λ never increases f."""
        return 1.02 * linalg.largest_eigenvalue(self.scaled)

    def shrunk(self, alpha: float) -> "Gram":
        """H_α = (1−α) H + α·diag(H): shrink the correlations, which are estimated from few tokens.

        α = 0 trusts every observed correlation; α = 1 is Wanda's metric. Each α is computed once.
        """
        if alpha == 0:
            return self
        with self._factorising:
            if alpha not in self._shrunk:
                matrix = (1 - alpha) * self.matrix
                matrix.diagonal().copy_(self.matrix.diagonal())
                self._shrunk[alpha] = Gram(matrix, self.name, self.outputs)
            return self._shrunk[alpha]

    def ridge_solve(self, rhs: Tensor, ridge: float) -> Tensor:
        """Y (H̃ + ridge·I)⁻¹ for Y (R, C).

        A product with the inverse, which layers that share their inputs share, is faster than triangular solves: on a
        CPU always, elsewhere for many rows.

        Raises:
            SDSError: H̃ + ridge·I is not positive definite in this precision. On a device the result is NaN instead
                (`require_solved`).
        """
        try:
            if self.outputs < len(self.matrix) and not self.matrix.is_cpu:
                return linalg.divide(rhs, self.scaled, ridge)
            return rhs @ self._inverse(ridge, shared=self.outputs > len(rhs))
        except torch.linalg.LinAlgError:
            raise self._singular(f"rho {ridge:g}", "rho") from None

    def prepare(self, ridges: Sequence[float]) -> None:
        """Compute the first of the inverses that `ridge_solve` will need, with the next on the CPU's other lanes.

        No more than `INVERSES` has room for: those of wide layers keep all cores busy one by one.
        """
        with self._factorising, suppress(torch.linalg.LinAlgError):  # `ridge_solve` tells it
            room = INVERSES // self.matrix.nbytes - len(self._inverses)
            count = min(room, lanes(len(ridges), self.matrix.device))
            if count > 1 and ridges[0] not in self._inverses:
                inverse = partial(linalg.ridge_inverse, self.scaled)
                found = side_by_side(inverse, ridges[:count], self.matrix.device)
                self._inverses.update(zip(ridges, found, strict=False))

    def _inverse(self, ridge: float, shared: bool) -> Tensor:
        with self._factorising:
            inverse = self._inverses.pop(ridge, None)
            if inverse is None:
                inverse = linalg.ridge_inverse(self.scaled, ridge)
            if shared and (len(self._inverses) + 1) * inverse.nbytes <= INVERSES:
                self._inverses[ridge] = inverse
            return inverse

    def inverse_factor(self, damping: float) -> Tensor:
        """Upper triangular U with UᵀU = (H + δI)⁻¹, δ = damping · mean H_jj of live inputs.

        Dead inputs are given that mean, so the result does not depend on the units of the inputs. (The published code
        gives them 1, beside sums over tokens that are far larger.)

        Raises:
            SDSError: H + δI is not positive definite.
        """
        with self._factorising:
            if damping not in self._factors:
                self._factors[damping] = self._inverse_factor(damping)
            return self._factors[damping]

    def _inverse_factor(self, damping: float) -> Tensor:
        matrix = double(self.matrix).clone()
        diagonal, dead = matrix.diagonal(), self.dead.to(matrix.device)
        mean = diagonal.sum() / (~dead).sum().clamp_min(1)
        mean = torch.where(mean > 0, mean, 1.0)  # all are dead
        diagonal.copy_(torch.where(dead, mean, diagonal))
        try:
            factor = linalg.upper_inverse_factor(matrix, damping * mean)
        except torch.linalg.LinAlgError:
            raise self._singular(f"damping {damping}", "damping") from None
        return factor.to(self.matrix)

    def require_solved(self, solution: Tensor, ridge: float) -> None:
        """Check the solution (R, C) of the last of a series of `ridge_solve`s, which do not wait for a device.

        Raises:
            SDSError: a matrix was not positive definite, so the solution is not finite.
        """
        if not solution.is_cpu and not solution.isfinite().all():
            raise self._singular(f"rho up to {ridge:g}", "rho")

    def _singular(self, at: str, remedy: str) -> SDSError:
        return SDSError(
            f"the Gram matrix of the inputs of {self.name} is not positive definite at {at}",
            cure=f"use more calibration tokens or a larger {remedy}",
        )


@dataclass(frozen=True, eq=False)
class PartOfSum:
    """The adding of products Yᵀ X to a part of a Gram matrix that no other part touches."""

    total: Tensor
    """(c, C), a view that is written to."""
    factors: Sequence[tuple[Tensor, Tensor]]
    """Y (N, c) and X (N, C)."""

    @property
    def cost(self) -> int:
        """Numbers to multiply."""
        return sum(len(left) for left, _ in self.factors) * self.total.numel()

    def add(self) -> None:
        """Add the products in turn."""
        for left, right in self.factors:
            self.total.addmm_(left.T, right)


class GramAccumulator:
    """Sum of X Xᵀ over batches of inputs in float32, and optionally of X_teacher Xᵀ.

    Args:
        columns: C, the number of inputs.
        device: device of the sums.
        cross: whether to sum the products with a teacher's inputs as well.
    """

    def __init__(self, columns: int, device: torch.device | str = "cpu", cross: bool = False):
        self.tokens = 0
        self._upper = torch.zeros(columns, columns, device=device)
        self._cross = torch.zeros(columns, columns, device=device) if cross else None

    def add(self, inputs: Tensor, teacher_inputs: Tensor | None = None) -> None:
        """Add inputs (..., C) and, if `cross`, the teacher's inputs (..., C) for the same tokens."""
        for part in self.adding([(inputs, teacher_inputs)]):
            part.add()

    def adding(self, batches: Sequence[tuple[Tensor, Tensor | None]]) -> list[PartOfSum]:
        """Return the adding of batches, one behind the other, in parts that any threads may do in any order."""
        rows = [inputs.detach().flatten(0, -2).float() for inputs, _ in batches]
        self.tokens += sum(map(len, rows))
        parts = []
        for start in range(0, len(self._upper), linalg.STRIP):  # by symmetry, the upper triangle is enough
            strip = slice(start, start + linalg.STRIP)
            parts.append(PartOfSum(self._upper[strip, start:], [(x[:, strip], x[:, start:]) for x in rows]))
        if self._cross is not None:
            taught = [x for _, x in batches if x is not None]
            assert [x.shape for x in taught] == [x.shape for x, _ in batches]
            pairs = zip((x.detach().flatten(0, -2).float() for x in taught), rows, strict=True)
            parts.append(PartOfSum(self._cross, list(pairs)))
        return parts

    def gram(self, name: str, outputs: int = 0) -> Gram:
        """Return H = X Xᵀ / N over all tokens added, exactly symmetric; arguments as for `Gram`."""
        assert self.tokens, f"no tokens reached {name}"
        return Gram(self._sum().div_(self.tokens), name, outputs)

    def teacher_shift(self) -> Tensor | None:
        """Return (X_teacher Xᵀ − X Xᵀ) / N (C, C), or None without a teacher."""
        return None if self._cross is None else (self._cross - self._sum()) / self.tokens

    def _sum(self) -> Tensor:
        """Return X Xᵀ (C, C), exactly symmetric, as a new tensor."""
        total = self._upper.triu()
        total += total.triu(1).T  # in place: for wide layers each copy is hundreds of megabytes
        return total
