"""Phase 3, *sparse again*: adjust the weights of the second prune towards the dense layer's outputs."""

import math

import torch
from torch import Tensor

from sds_core.pruning.layer_problem import LayerProblem, Pruned
from sds_core.pruning.linalg import masked_conjugate_gradients, pick, quadratic
from sds_core.pruning.pattern import Pattern


def solve_kept(problem: LayerProblem, pruned: Pruned) -> Pruned:
    """Return the same mask with the weights that minimise f on it, by Jacobi-preconditioned conjugate gradients.

    At most 20 steps, fewer once the relative residual is below 1e-3 (`linalg.masked_conjugate_gradients`).
    """
    return _solve_kept(problem, pruned)[0]


def solve_better(problem: LayerProblem, candidates: dict[str, Pruned]) -> tuple[str, Pruned]:
    """Solve for the kept weights of each candidate; return the name and weights with the lowest f, ties to the first.

    A candidate is dropped once it cannot win; shrinkage makes that bound tight, as it keeps the eigenvalues of H̃ ≥ α.
    """
    best, lowest, winner = "", math.inf, next(iter(candidates.values()))
    for name, candidate in candidates.items():
        solved, objective = _solve_kept(problem, candidate, lowest)
        if not best or objective < lowest:
            best, lowest, winner = name, objective if math.isfinite(objective) else math.inf, solved
    return best, winner


def _solve_kept(problem: LayerProblem, pruned: Pruned, to_beat: float = math.inf) -> tuple[Pruned, float]:
    """Return the solved candidate, unfinished if it cannot get below `to_beat`, and its f up to a constant."""
    gram, rhs = problem.gram, problem.scaled_rhs
    start = pruned.weight * gram.scale
    solution, residual = masked_conjugate_gradients(
        gram.scaled, rhs, pruned.mask, start, to_beat=to_beat, floor=problem.alpha
    )
    return Pruned(solution / gram.scale, pruned.mask), float(quadratic(solution, rhs, residual))


MOMENTUM = 0.8
"""Momentum of straight-through steps; the paper does not name its optimiser."""


def straight_through(
    problem: LayerProblem, start: Pruned, pattern: Pattern, *, iterations: int, learning_rate: float
) -> Pruned:
    """Gradient steps in which the mask may still move (Li et al., §3.3, weight adjustment).

    Each iteration takes the mask from the current magnitudes (over the layer, whatever the base pruner), evaluates f
    with the masked weights, and applies that gradient, with momentum, to *all* weights, so a masked weight can grow
    until it returns. The iteration may diverge, hence the best masked iterate is kept; the start counts as one.

    Magnitude is |V| = |W|·s, in the Jacobi coordinates of the steps. Magnitudes in the original coordinates would
    favour weights of weak inputs, which move fast there but contribute little.

    Args:
        problem: the layer, weight (R, C).
        start: the second prune.
        pattern: the pattern of every mask.
        iterations: number of steps.
        learning_rate: step length in units of 1/λ_max(H̃), in Jacobi coordinates.
    """
    gram, rhs = problem.gram, problem.scaled_rhs
    step = learning_rate / gram.top_eigenvalue
    weights = start.weight * gram.scale
    velocity = torch.zeros_like(weights)
    mask, masked = start.mask, weights
    best: tuple[Tensor, ...] = masked, mask, torch.full((), torch.inf, dtype=masked.dtype, device=masked.device)
    for iteration in range(iterations + 1):
        if iteration:
            mask = pattern.mask(weights.abs(), "layer")
            masked = weights * mask.to(weights.dtype)
        slope = masked @ gram.scaled - rhs
        objective = ((slope - rhs) * masked).sum()  # f(V) up to a constant
        best = pick(objective < best[-1], (masked, mask, objective), best)
        velocity.mul_(MOMENTUM).add_(slope, alpha=-step)
        weights = weights + velocity
    return Pruned(best[0] / gram.scale, best[1])


def better(problem: LayerProblem, candidates: dict[str, Pruned]) -> tuple[str, Pruned]:
    """Early exit: return the name and the candidate with the lowest loss, ties to the first."""
    losses = {name: problem.loss(candidate.weight) for name, candidate in candidates.items()}
    name = min(losses, key=lambda key: losses[key] if math.isfinite(losses[key]) else math.inf)
    return name, candidates[name]
