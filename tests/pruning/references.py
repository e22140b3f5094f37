"""Slow references in float64, written from the papers' formulas; nothing here calls the package under test."""

from collections.abc import Callable, Iterator
from fractions import Fraction

import torch
from torch import Tensor

Select = Callable[[Tensor], Tensor]
"""Scores (R, C) to a mask (R, C)."""


def correlated_inputs(columns: int, tokens: int, seed: int = 0, common: float = 1.0, own: float = 0.0) -> Tensor:
    """X (C, N): a common factor, mixed sources and noise of their `own`, at scales that differ among inputs."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)
    sources = draw(columns, tokens)
    mixed = draw(columns, columns) @ sources / columns**0.5 + own * sources
    return draw(columns, 1).exp() * (mixed + common * draw(1, tokens))


def random_weight(rows: int, columns: int, seed: int = 1) -> Tensor:
    """W (R, C), Gaussian."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, columns, generator=generator, dtype=torch.float64)


def output_error(weight: Tensor, dense: Tensor, inputs: Tensor) -> float:
    """‖(V − W) X‖² / ‖W X‖² for V and W (R, C), X (C, N)."""
    return float(((weight - dense) @ inputs).square().sum() / (dense @ inputs).square().sum())


def keep_highest(scores: Tensor, keep: int) -> Tensor:
    """Mask of the `keep` highest of all scores, by sorting (score descending, index ascending)."""
    values = scores.flatten().tolist()
    order = sorted(range(len(values)), key=lambda i: (-values[i], i))
    mask = torch.zeros(len(values), dtype=torch.bool)
    mask[order[:keep]] = True
    return mask.view(scores.shape)


def select_layer(ratio: str) -> Select:
    return lambda scores: keep_highest(scores, scores.numel() - int(Fraction(ratio) * scores.numel()))


def select_rows(ratio: str) -> Select:
    return lambda scores: torch.stack([select_layer(ratio)(row) for row in scores])


def select_groups(keep: int, group: int) -> Select:
    return lambda scores: torch.cat(
        [torch.stack([keep_highest(part, keep) for part in chunk]) for chunk in scores.split(group, dim=1)], dim=1
    )


def exact_counts(mask: Tensor, pattern: str) -> bool:
    """Whether a mask keeps exactly what `2:4` or a ratio asks for, in the layer, in every row or 128-column block."""
    if ":" in pattern:
        keep, group = map(int, pattern.split(":"))
        return bool((mask.reshape(-1, group).sum(dim=1) == keep).all())
    pruned = lambda part: int((~part).sum()) == int(Fraction(pattern) * part.numel())
    return any(all(map(pruned, parts)) for parts in ([mask], list(mask), mask.split(128, dim=1)))


def sparsegpt(weight: Tensor, gram: Tensor, select: Select, together: int, damping: float) -> tuple[Tensor, Tensor]:
    """SparseGPT one column at a time, each with its own inverse of the columns not yet passed; weight and mask.

    Optimal brain surgeon on the columns from j on: pruning w_ij costs w_ij² / [H⁻¹]_jj and is repaired by
    −w_ij / [H⁻¹]_jj · [H⁻¹]_j:. The mask is chosen for `together` columns at a time. Weights on dead inputs cost
    nothing; where the mask keeps them, they stay.
    """
    dense, weight, gram = weight, weight.clone(), gram.clone()
    dead = gram.diagonal() == 0
    gram[dead, dead] = gram.diagonal()[~dead].mean()
    weight[:, dead] = 0
    gram += damping * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    inverses = [torch.linalg.inv(gram[j:, j:]) for j in range(len(gram))]
    pivots = torch.stack([inverse[0, 0] for inverse in inverses])
    mask = torch.zeros(weight.shape, dtype=torch.bool)
    for j, inverse in enumerate(inverses):
        if j % together == 0:
            ahead = slice(j, j + together)
            mask[:, ahead] = select(weight[:, ahead].square() / pivots[ahead])
        lost = torch.where(mask[:, j], 0, weight[:, j]) / pivots[j]
        weight[:, j:] -= lost[:, None] * inverse[0]
        weight[~mask[:, j], j] = 0
    weight[:, dead] = dense[:, dead] * mask[:, dead]
    return weight, mask


def solve_on_support(gram: Tensor, rhs: Tensor, support: Tensor) -> Tensor:
    """Row by row the normal equations W_S H_SS = B_S."""
    solution = torch.zeros_like(rhs)
    for i, kept in enumerate(support):
        solution[i, kept] = torch.linalg.solve(gram[kept][:, kept], rhs[i, kept])
    return solution


def jacobi(weight: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Scales s_j = √H_jj, V = W·s and inputs divided by s."""
    scale = inputs.square().mean(dim=1).sqrt()
    return scale, weight * scale, inputs / scale[:, None]


def half_error(weight: Tensor, target: Tensor, inputs: Tensor) -> Tensor:
    """½‖Y − V X‖² / N."""
    return 0.5 * (target - weight @ inputs).square().sum() / inputs.shape[1]


def top_eigenvalue(inputs: Tensor) -> float:
    """λ_max of X Xᵀ / N."""
    return float(torch.linalg.matrix_norm(inputs, ord=2)) ** 2 / inputs.shape[1]


def gradient_descent(dense: Tensor, start: Tensor, inputs: Tensor, steps: int, rate: float) -> Tensor:
    """Autograd on the samples in Jacobi coordinates towards the dense layer's outputs."""
    scale, target, inputs = jacobi(dense, inputs)
    weights = (start * scale).requires_grad_()
    for _ in range(steps):
        (gradient,) = torch.autograd.grad(half_error(weights, target @ inputs, inputs), weights)
        weights = (weights - rate * gradient).detach().requires_grad_()
    return weights.detach() / scale


def straight_through(
    dense: Tensor,
    start: tuple[Tensor, Tensor],
    inputs: Tensor,
    select: Select,
    steps: int,
    rate: float,
    momentum: float,
) -> list[tuple[float, Tensor, Tensor]]:
    """Autograd through an identity in place of the mask; (error, masked weight, mask) of the start and each step."""
    scale, target, inputs = jacobi(dense, inputs)
    weights, mask = (start[0] * scale).requires_grad_(), start[1]
    optimiser = torch.optim.SGD([weights], lr=rate, momentum=momentum)
    iterates = []
    for step in range(steps + 1):
        if step:
            mask = select(weights.detach().abs())
        optimiser.zero_grad()
        masked = weights + (weights * mask - weights).detach()
        error = half_error(masked, target @ inputs, inputs)
        iterates.append((error.item(), masked.detach() / scale, mask))
        error.backward()
        optimiser.step()
    return iterates


def admm_rounds(
    dense: Tensor, start: Tensor, inputs: Tensor, select: Select, rounds: int, rho: float, rho_growth: float
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Re-dense weight, sparse weight and mask of each round of the alternating direction method of multipliers."""
    scale, target, inputs = jacobi(dense, inputs)
    gram = inputs @ inputs.T / inputs.shape[1]
    rhs = target @ gram
    sparse, dual = start * scale, torch.zeros_like(start)
    for _ in range(rounds):
        ridged = gram + rho * torch.eye(len(gram), dtype=gram.dtype)
        solved = torch.linalg.solve(ridged, (rhs + rho * (sparse - dual)).T).T
        mask = select((solved + dual).abs())
        sparse = torch.where(mask, solved + dual, 0)
        dual = solved + dual - sparse
        rho, dual = rho_growth * rho, dual / rho_growth
        yield solved / scale, sparse / scale, mask
