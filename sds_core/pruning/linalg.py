"""Linear algebra on symmetric positive semi-definite matrices, independent of pruning."""

import math

import torch
from torch import Tensor

from sds_core.pruning.precision import double

BASE = 400
"""Widest matrix that LAPACK factorises on a CPU; wider ones are split, for there products are several times faster."""
STRIP = 192
"""Rows or columns of a symmetric matrix computed at a time; wide enough for a fast matrix product."""
UNWATCHED = 5
"""Steps that a device takes before the host looks, and so waits, whether it may stop."""


def inner(a: Tensor, b: Tensor) -> Tensor:
    """Return tr(A Bᵀ), summed over rows in float64: a scalar tensor, without waiting for the device."""
    return double((a * b).sum(dim=-1)).sum()


def all_finite(tensor: Tensor) -> bool:
    """Whether no entry is NaN or infinite: the extremes would be, and are found ten times as fast as the entry."""
    return not tensor.numel() or all(extreme.isfinite() for extreme in tensor.aminmax())


def curvature(change: Tensor, matrix: Tensor) -> Tensor:
    """Return tr(D A Dᵀ) for D (R, C) and a symmetric A (C, C), from A's lower triangle: half a product."""
    total = inner(change[:0], change[:0])
    for start in range(0, len(matrix), STRIP):
        strip = slice(start, start + STRIP)
        lower = matrix[start:, strip].clone()
        lower[:STRIP] *= 0.5  # what lies below the diagonal block counts twice
        total += 2 * inner(change[:, start:] @ lower, change[:, strip])
    return total


def looks(step: int, tensor: Tensor) -> bool:
    """Whether a loop may look at results in this step: always on the CPU, and now and then on a device."""
    return tensor.is_cpu or step % UNWATCHED == 0


def pick(condition: Tensor, ones: tuple[Tensor, ...], others: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return the first tensors if a condition () holds, else the others; the host does not wait to know which."""
    if condition.is_cpu:
        return ones if condition else others
    return tuple(torch.where(condition, one, other) for one, other in zip(ones, others, strict=True))


def cholesky(matrix: Tensor) -> Tensor:
    """Return the lower factor of a positive definite matrix (C, C); of another one, on a device, NaN, without waiting.

    Raises:
        torch.linalg.LinAlgError: it is not positive definite, on the CPU.
    """
    if matrix.is_cpu:
        return torch.linalg.cholesky(matrix)
    factor, fault = torch.linalg.cholesky_ex(matrix)
    return torch.where(fault == 0, factor, torch.nan)


def upper_inverse_factor(matrix: Tensor, damping: Tensor) -> Tensor:
    """Return the upper triangular U with UᵀU = (A + damping·I)⁻¹ for a float64 matrix A (C, C).

    Reversing rows and columns turns the Cholesky factorisation L Lᵀ into an upper times a lower triangle, and U is the
    inverse of the upper one: one factorisation, and the inverse of A is never formed.

    Raises:
        torch.linalg.LinAlgError: A + damping·I is not positive definite.
    """
    assert matrix.dtype == torch.float64
    damped = matrix.flip(0, 1)
    damped.diagonal().add_(damping)
    return _inverse_cholesky(damped).flip(0, 1)


def _inverse_cholesky(matrix: Tensor) -> Tensor:
    """Return L⁻¹ (C, C) where A = L Lᵀ, by halves: L₂₁ = A₂₁ L₁₁⁻ᵀ, and L₂₂ is the factor of A₂₂ − L₂₁ L₂₁ᵀ."""
    half = len(matrix) // 2
    if not matrix.is_cpu or len(matrix) <= 2 * BASE:
        identity = torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
        return torch.linalg.solve_triangular(torch.linalg.cholesky(matrix), identity, upper=False)
    inverse = torch.zeros_like(matrix)
    first = inverse[:half, :half] = _inverse_cholesky(matrix[:half, :half])
    below = matrix[half:, :half] @ first.T
    last = inverse[half:, half:] = _inverse_cholesky(matrix[half:, half:] - below @ below.T)
    inverse[half:, :half] = (last @ below).neg_() @ first
    return inverse


def divide(rhs: Tensor, matrix: Tensor, ridge: float) -> Tensor:
    """Return B (A + ridge·I)⁻¹ for B (R, C) and a symmetric A (C, C), by Cholesky.

    Raises:
        torch.linalg.LinAlgError: A + ridge·I is not positive definite.
    """
    ridged = matrix.clone()
    ridged.diagonal().add_(ridge)
    return torch.cholesky_solve(rhs.T, cholesky(ridged)).T


def ridge_inverse(matrix: Tensor, ridge: float) -> Tensor:
    """(A + ridge·I)⁻¹ (C, C) of a symmetric A (C, C).

    Raises:
        torch.linalg.LinAlgError: A + ridge·I is not positive definite.
    """
    ridged = matrix.clone()
    ridged.diagonal().add_(ridge)
    return _inverse(ridged)


def _inverse(matrix: Tensor) -> Tensor:
    """Return A⁻¹ (C, C) of a positive definite A, by halves: the lower right block is (A₂₂ − A₂₁ A₁₁⁻¹ A₁₂)⁻¹."""
    half = len(matrix) // 2
    if not matrix.is_cpu or len(matrix) <= BASE:
        return torch.cholesky_inverse(cholesky(matrix))
    inverse = torch.empty_like(matrix)
    first = _inverse(matrix[:half, :half])
    across = matrix[half:, :half] @ first
    last = inverse[half:, half:] = _inverse(torch.addmm(matrix[half:, half:], across, matrix[:half, half:], alpha=-1))
    below = inverse[half:, :half] = (last @ across).neg_()
    inverse[:half, half:] = below.T
    inverse[:half, :half] = first.addmm_(across.T, below, alpha=-1)
    return inverse


def largest_eigenvalue(matrix: Tensor) -> float:
    """Return the largest eigenvalue of a semi-definite matrix (C, C) by power iteration, a few per cent low."""
    generator = torch.Generator().manual_seed(0)
    vector = torch.rand(len(matrix), generator=generator, dtype=matrix.dtype).to(matrix.device)
    for _ in range(30):
        vector = matrix @ vector
        norm = vector.norm()
        vector = vector / norm.clamp_min(torch.finfo(norm.dtype).tiny)
    return float(norm) or 1.0


def masked_conjugate_gradients(
    matrix: Tensor,
    rhs: Tensor,
    support: Tensor,
    start: Tensor,
    max_steps: int = 20,
    tolerance: float = 1e-3,
    to_beat: float = math.inf,
    floor: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Minimise tr(V A Vᵀ) − 2 tr(V Bᵀ) over V (R, C) with the given support, each row by conjugate gradients.

    Args:
        matrix: A (C, C), symmetric positive semi-definite, best with a unit diagonal.
        rhs: B (R, C).
        support: bool (R, C), where V may differ from zero.
        start: initial guess (R, C); entries outside the support are dropped.
        max_steps: maximum number of iterations; each costs one product with A.
        tolerance: bound on ‖residual‖ / ‖B on the support‖, over all rows, at which to stop.
        to_beat: stop as soon as the minimum is known to lie above this; needs a floor.
        floor: a lower bound on the eigenvalues of A. By the Gauss–Radau rule (Meurant and Tichý, 2013) it bounds how
            much of the objective the iteration can still gain.

    Returns:
        V, and its residual B − V A on the support, zero elsewhere; both (R, C).
    """
    kept = support.to(rhs.dtype)  # a product with numbers is several times faster than one with truth values
    solution = start * kept
    residual = torch.addmm(rhs, solution, matrix, alpha=-1).mul_(kept)
    direction = residual.clone()
    square = _row_products(residual, residual)
    enough = tolerance**2 * _row_products(rhs * kept, rhs).sum()
    tiny = torch.finfo(rhs.dtype).tiny
    racing = floor > 0 and to_beat < math.inf
    gain = torch.full_like(square, 1 / floor) if racing else square  # of a row, per squared residual, at most
    stopped = torch.zeros((), dtype=torch.bool, device=rhs.device)
    for number in range(max_steps):
        stopped |= square.sum() <= enough
        if racing:
            stopped |= (quadratic(solution, rhs, residual) - double((gain * square).sum()) > to_beat).to(rhs.device)
        if looks(number, rhs) and stopped:
            break
        curved = (direction @ matrix).mul_(kept)
        along = _row_products(direction, curved)
        sound = along > 16 * torch.finfo(rhs.dtype).eps * _row_products(direction, direction)
        step = torch.where(sound & ~stopped, square / along, 0)
        solution.addcmul_(direction, step)
        residual.addcmul_(curved, step, value=-1)
        previous, square = square, _row_products(residual, residual)
        ratio = square / previous.clamp_min(tiny)
        direction.mul_(ratio).add_(residual)
        if racing:
            rest = (gain - step).clamp_min(tiny)
            gain = rest / (floor * rest + ratio)
    return solution, residual


def _row_products(a: Tensor, b: Tensor) -> Tensor:
    """Return the inner product of each row of A with that of B (R, 1)."""
    return (a * b).sum(dim=1, keepdim=True)


def quadratic(solution: Tensor, rhs: Tensor, residual: Tensor) -> Tensor:
    """Return tr(V A Vᵀ) − 2 tr(V Bᵀ), (), of V (R, C) on its support, where B − V A is the residual."""
    return -inner(solution, rhs + residual)
