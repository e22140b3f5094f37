"""Phase 2, *dense*: let every weight move again, so that the next prune finds a better mask.

Two methods: the paper's gradient steps with L1 and L2 (`sds`), and the alternating direction method of multipliers
(`sds-admm`). A third path, `proximal_rounds`, is for the Layer lab alone: it shows why re-densing alone gains nothing.
All work in Jacobi coordinates V_ij = W_ij·s_j (see `gram.Gram`), where H̃ has a unit diagonal.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import accumulate, repeat

import torch
from torch import Tensor
from torch.nn.functional import softshrink

from sds_core.pruning.layer_problem import LayerProblem, Pruned
from sds_core.pruning.pattern import Pattern
from sds_core.pruning.wanda import wanda_mask

LARGEST_RHO = 1e12
"""A larger ρ changes no digit of a dense solve, and would leave the numbers that float32 holds."""
TRUSTED_RHO = 10.0
"""Up to this ρ a round's error follows from its equations; of a larger one, rounding would be all that is left."""


@dataclass(frozen=True, eq=False)
class Round:
    """One round of phase 2: a dense solve, with ADMM or without, or a gradient step."""

    number: int
    """From 1."""
    dense: Tensor
    """The re-dense weight (R, C)."""
    prune: Callable[[], Pruned] = field(repr=False)
    """Computes `sparse`."""
    measure: Callable[[], Tensor] = field(repr=False)
    """Computes `loss` as a scalar tensor, without waiting for the device."""

    @cached_property
    def sparse(self) -> Pruned:
        """The pruned weight: that of the ADMM round, or the re-dense weight pruned by Wanda's score.

        Computed on first use: few rounds are ever looked at.
        """
        return self.prune()

    @cached_property
    def loss(self) -> float:
        """The output error ‖(V − W) X‖² / ‖W X‖² of V = `dense`, of the inputs as observed: nothing is shrunk."""
        return float(self.measure())


def gradient_rounds(
    problem: LayerProblem,
    start: Tensor,
    pattern: Pattern,
    *,
    iterations: int,
    learning_rate: float,
    l1: float,
    l2: float,
) -> Iterator[Round]:
    """Proximal gradient descent from the sparse weight on ½f(V) + λ₁·v̄·‖V‖₁ + ½λ₂‖V‖² (Li et al., §3.2).

    v̄ is the mean |V| of the dense layer, so that λ₁ means the same in every layer. The paper fixes neither optimiser
    nor coordinates; the proximal step and the step length are ours. With a learning rate of at most 1 the objective
    never rises, so the last iterate is the best.

    Args:
        problem: the layer, weight (R, C).
        start: the sparse weight to start from (R, C).
        pattern: the pattern of each round's pruned weight; the steps do not depend on it.
        iterations: number of full-batch steps, one a round.
        learning_rate: step length in units of 1/λ_max(H̃), in (0, 1].
        l1: λ₁, in units of the mean |V|.
        l2: λ₂.
    """
    assert 0 < learning_rate <= 1 and l1 >= 0 and l2 >= 0
    gram, rhs = problem.gram, problem.scaled_rhs
    step = learning_rate / gram.top_eigenvalue
    threshold = step * l1 * float(problem.scaled_weight.abs().mean())
    dense = start * gram.scale
    product = dense @ gram.scaled
    for number in range(1, iterations + 1):
        dense = torch.sub(product, rhs).mul_(-step).add_(dense)
        if threshold:
            dense = softshrink(dense, threshold)
        dense /= 1 + step * l2
        product = dense @ gram.scaled
        weight = dense / gram.scale
        measure = partial(_stepped_error, problem, weight, product)
        yield Round(number, weight, partial(_pruned_by_wanda, problem, weight, pattern), measure)


def admm_rounds(
    problem: LayerProblem, start: Tensor, pattern: Pattern, *, rounds: int, rho: float, rho_growth: float
) -> Iterator[Round]:
    """The alternating direction method of multipliers for pruning, with a growing penalty.

    As in Boža (arXiv 2401.02938) with other details, from any base pruner's result. With Z = the sparse weight and the
    scaled dual variable U = 0 at the start, a round is

        V = argmin f(V) + ρ‖V − (Z − U)‖² = [B̃ + ρ(Z − U)] (H̃ + ρI)⁻¹      dense solve
        Z = the entries of V + U with the highest |V + U|, in the pattern    prune (by Wanda's score, for any base)
        U ← V + U − Z                                                       dual update
        ρ ← rho_growth·ρ, U ← U / rho_growth                                penalty update, up to LARGEST_RHO

    Pruning the last V loses almost nothing. Without the dual variable the mask would never change: a pruned weight
    returns smaller than it was, so the old mask always wins. With it, a wrongly pruned weight grows until it returns.

    Args:
        problem: the layer, weight (R, C).
        start: the sparse weight to start from (R, C).
        pattern: the pattern of Z; within a row if unstructured.
        rounds: number of rounds.
        rho: ρ of the first round.
        rho_growth: factor on ρ after every round.

    Raises:
        SDSError: H̃ + ρI is not positive definite in this precision.
    """
    gram = problem.gram
    target = start * gram.scale  # Z − U
    dual = 0.0 * target
    penalties = _penalties(rho, rho_growth, rounds)
    for number, rho in enumerate(penalties, 1):
        gram.prepare(penalties[number - 1 :])
        dense = gram.ridge_solve(torch.add(problem.scaled_rhs, target, alpha=rho), rho)
        accumulated = dense + dual
        mask = pattern.mask(accumulated.abs(), "row")
        sparse = accumulated * mask.to(accumulated.dtype)  # several times faster than a product with truth values
        dual = accumulated.sub_(sparse).div_(rho_growth)
        weight = dense / gram.scale
        measure = partial(_solved_error, problem, weight, target, rho)
        yield Round(number, weight, partial(Pruned, sparse / gram.scale, mask), measure)
        target = sparse - dual
    gram.require_solved(dense, rho)


def proximal_rounds(
    problem: LayerProblem, start: Tensor, pattern: Pattern, *, rounds: int, rho: float, rho_growth: float
) -> Iterator[Round]:
    """The plain re-dense path: the dense solves of `admm_rounds` in sequence, with no prune and no dual in between.

    Each solve is held near the previous one, V ← argmin f(V) + ρ‖V − V_prev‖². Without a shift that is

        V = W_d − (W_d − W_s)(I − φ(H̃)),    φ(λ) = 1 − Π ρ_i / (λ + ρ_i),

    from W_s at φ = 0 to the dense W_d at φ = 1, where a pruner finds the first mask again. In between, a pruned weight
    has regained the share φ_jj ≤ 1 of its size, which favours the old mask. This is why re-densing alone gains nothing;
    gradient steps without regularisation follow the same path.

    Args and errors: as `admm_rounds`.
    """
    gram = problem.gram
    dense = start * gram.scale
    penalties = _penalties(rho, rho_growth, rounds)
    for number, rho in enumerate(penalties, 1):
        gram.prepare(penalties[number - 1 :])
        target = dense
        dense = gram.ridge_solve(torch.add(problem.scaled_rhs, target, alpha=rho), rho)
        weight = dense / gram.scale
        measure = partial(_solved_error, problem, weight, target, rho)
        yield Round(number, weight, partial(_pruned_by_wanda, problem, weight, pattern), measure)
    gram.require_solved(dense, rho)


def _penalties(first: float, growth: float, rounds: int) -> list[float]:
    """Return ρ of every round."""
    grow = lambda rho, factor: min(rho * factor, LARGEST_RHO)
    return list(accumulate(repeat(growth, rounds - 1), grow, initial=first))


def _stepped_error(problem: LayerProblem, weight: Tensor, product: Tensor) -> Tensor:
    """The output error of the weight with V H̃ = `product` (R, C), by D H̃ = V H̃ − W H̃ for D = V − W."""
    product = product - problem.dense_product / problem.gram.scale
    return problem.observed_energy(weight - problem.weight, product)


def _solved_error(problem: LayerProblem, weight: Tensor, target: Tensor, rho: float) -> Tensor:
    """The output error of V = argmin f(V) + ρ‖V − T‖², by D H̃ = ρ(T − V) + the scaled shift for D = V − W.

    Args:
        problem: the layer, weight (R, C).
        weight: V (R, C), in the layer's coordinates.
        target: T (R, C), in Jacobi coordinates.
        rho: ρ.
    """
    change, scale = weight - problem.weight, problem.gram.scale
    if rho > TRUSTED_RHO:
        return (problem.observed or problem).energy(change)
    product = torch.sub(target, weight * scale).mul_(rho)
    if problem.shift is not None:
        product += problem.shift / scale
    return problem.observed_energy(change, product)


def _pruned_by_wanda(problem: LayerProblem, weight: Tensor, pattern: Pattern) -> Pruned:
    mask = wanda_mask(weight, problem.gram, pattern)
    return Pruned(weight * mask, mask)
