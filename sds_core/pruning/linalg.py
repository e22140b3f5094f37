"""Linear algebra on symmetric positive semi-definite matrices, independent of pruning."""

import math

import torch
from torch import Tensor


def inner(a: Tensor, b: Tensor) -> float:
    """Return tr(A Bᵀ), summed in float64."""
    return float((a * b).sum(dtype=torch.float64))


def upper_inverse_factor(matrix: Tensor, damping: float) -> Tensor:
    """Return the upper triangular U with UᵀU = (A + damping·I)⁻¹ for a float64 matrix A (C, C).

    Reversing rows and columns turns the Cholesky factorisation L Lᵀ into an upper times a lower triangle, and U is the
    inverse of the upper one: one factorisation, and the inverse of A is never formed.

    Raises:
        torch.linalg.LinAlgError: A + damping·I is not positive definite.
    """
    assert matrix.dtype == torch.float64
    identity = torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
    lower = torch.linalg.cholesky((matrix + damping * identity).flip(0, 1))
    return torch.linalg.solve_triangular(lower, identity, upper=False).flip(0, 1)


def divide(rhs: Tensor, matrix: Tensor, ridge: float) -> Tensor:
    """Return B (A + ridge·I)⁻¹ for B (R, C) and a symmetric A (C, C), by Cholesky.

    Raises:
        torch.linalg.LinAlgError: A + ridge·I is not positive definite.
    """
    ridged = matrix.clone()
    ridged.diagonal().add_(ridge)
    return torch.cholesky_solve(rhs.T, torch.linalg.cholesky(ridged)).T


def ridge_inverse(matrix: Tensor, ridge: float) -> Tensor:
    """(A + ridge·I)⁻¹ (C, C) of a symmetric A (C, C), by Cholesky.

    Raises:
        torch.linalg.LinAlgError: A + ridge·I is not positive definite.
    """
    ridged = matrix.clone()
    ridged.diagonal().add_(ridge)
    return torch.cholesky_inverse(torch.linalg.cholesky(ridged))


def largest_eigenvalue(matrix: Tensor, steps: int = 30) -> float:
    """Return the largest eigenvalue of a semi-definite matrix (C, C) by power iteration, a few per cent low."""
    generator = torch.Generator().manual_seed(0)
    vector = torch.rand(len(matrix), generator=generator, dtype=matrix.dtype).to(matrix.device)
    for _ in range(steps):
        vector = matrix @ vector
        norm = vector.norm()
        if norm == 0:
            return 1.0
        vector = vector / norm
    return float(norm)


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
    solution = start * support
    residual = torch.where(support, rhs - solution @ matrix, 0)
    direction = residual
    square = residual.square().sum(dim=1, keepdim=True)
    enough = tolerance**2 * torch.where(support, rhs, 0).square().sum()
    tiny = torch.finfo(rhs.dtype).tiny
    racing = floor > 0 and to_beat < math.inf
    gain = torch.full_like(square, 1 / floor) if racing else square  # of a row, per squared residual, at most
    for _ in range(max_steps):
        if square.sum() <= enough:
            break
        if racing and quadratic(solution, rhs, residual) - float((gain * square).sum()) > to_beat:
            break
        curved = torch.where(support, direction @ matrix, 0)
        curvature = (direction * curved).sum(dim=1, keepdim=True)
        sound = curvature > 16 * torch.finfo(rhs.dtype).eps * direction.square().sum(dim=1, keepdim=True)
        step = torch.where(sound, square / curvature, 0)
        solution = solution + step * direction
        residual = residual - step * curved
        previous, square = square, residual.square().sum(dim=1, keepdim=True)
        ratio = square / previous.clamp_min(tiny)
        direction = residual + ratio * direction
        if racing:
            rest = (gain - step).clamp_min(tiny)
            gain = rest / (floor * rest + ratio)
    return solution, residual


def quadratic(solution: Tensor, rhs: Tensor, residual: Tensor) -> float:
    """Return tr(V A Vᵀ) − 2 tr(V Bᵀ) of V (R, C) on its support, where B − V A is the residual."""
    return -inner(solution, rhs + residual)
