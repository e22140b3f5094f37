"""Phase 2, *dense*: every connection may move again, until the weights are friendly to the next prune.

Two ways, kept apart by name everywhere: the paper's gradient steps under L1 and L2 (`sds`), and rounds of
reconstruction and pruning with a memory of what each prune threw away (`sds-admm`). All in Jacobi coordinates
V_ij = W_ij·s_j (see `gram.Gram`), where H̃ has a unit diagonal.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from sds_core.pruning.layer_problem import LayerProblem, Pruned
from sds_core.pruning.pattern import Pattern


def gradient_redense(
    problem: LayerProblem, start: Tensor, *, iterations: int, learning_rate: float, l1: float, l2: float
) -> Tensor:
    """Proximal gradient descent from the sparse weight on ½f(V) + λ₁·v̄·‖V‖₁ + ½λ₂‖V‖² (Li et al., §3.2).

    v̄ is the mean |V| of the dense layer, so that λ₁ means the same in every layer. The paper fixes neither
    optimiser nor coordinates; the proximal step and the step length are ours. With a learning rate of at most 1 the
    objective never rises, so the last iterate is the best.

    Args:
        problem: the layer, weight (R, C).
        start: the sparse weight to start from (R, C).
        iterations: number of full-batch steps.
        learning_rate: step length in units of 1/λ_max(H̃), in (0, 1].
        l1: λ₁, in units of the mean |V|.
        l2: λ₂.

    Returns:
        The re-dense weight (R, C).
    """
    assert 0 < learning_rate <= 1 and l1 >= 0 and l2 >= 0
    gram, rhs = problem.gram, problem.scaled_rhs
    step = learning_rate / gram.top_eigenvalue
    threshold = step * l1 * float(problem.scaled_weight.abs().mean())
    dense = start * gram.scale
    for _ in range(iterations):
        dense = dense - step * (dense @ gram.scaled - rhs)
        if threshold:
            dense = dense.sign() * (dense.abs() - threshold).clamp_min(0)
        dense = dense / (1 + step * l2)
    return dense / gram.scale


@dataclass(frozen=True, eq=False)
class Round:
    """One round of reconstruction and pruning."""

    number: int
    """From 1."""
    dense: Tensor
    """The re-dense weight (R, C)."""
    sparse: Pruned
    """What the next prune keeps of it, memory included."""


def admm_rounds(
    problem: LayerProblem, start: Tensor, pattern: Pattern, *, rounds: int, rho: float, rho_growth: float
) -> Iterator[Round]:
    """Alternate between a re-dense solve and a prune, remembering what each prune threw away.

    The alternating direction method of multipliers for pruning, as in Boža (arXiv 2401.02938), with a growing
    penalty, from any base pruner's result. With memory U, starting from Z = the sparse weight and U = 0, a round is

        V = argmin f(V) + ρ‖V − (Z − U)‖² = [B̃ + ρ(Z − U)] (H̃ + ρI)⁻¹      dense
        Z = the entries of V + U with the highest |V + U|, in the pattern    sparse (Wanda's score, for any base)
        U ← V + U − Z                                                       memory
        ρ ← rho_growth·ρ, U ← U / rho_growth                                        stiffen

    The last V costs almost nothing to prune. Without the memory U nothing would happen: a pruned weight comes back
    shrunken, so the old mask always wins; with it, a wrongly pruned weight accumulates until it returns.

    Args:
        problem: the layer, weight (R, C).
        start: the sparse weight to start from (R, C).
        pattern: what Z obeys, within a row if unstructured.
        rounds: how many.
        rho: ρ of the first round.
        rho_growth: factor on ρ after every round.

    Raises:
        SDSError: H̃ + ρI is not positive definite in this precision.
    """
    gram = problem.gram
    pull = start * gram.scale  # Z − U
    memory = 0.0 * pull
    for number in range(1, rounds + 1):
        dense = gram.ridge_solve(problem.scaled_rhs + rho * pull, rho)
        wanted = dense + memory
        mask = pattern.mask(wanted.abs(), "row")
        sparse = wanted * mask
        memory = (wanted - sparse) / rho_growth
        rho *= rho_growth
        pull = sparse - memory
        yield Round(number, dense / gram.scale, Pruned(sparse / gram.scale, mask))


def proximal_rounds(
    problem: LayerProblem, start: Tensor, pattern: Pattern, *, rounds: int, rho: float, rho_growth: float
) -> Iterator[Round]:
    """The plain re-dense path: the solves of `admm_rounds` one after the other, with no prune and no memory between.

    Each solve is held near the one before, V ← argmin f(V) + ρ‖V − V_before‖². Without a shift that is

        V = W_d − (W_d − W_s)(I − φ(H̃)),    φ(λ) = 1 − Π ρ_i / (λ + ρ_i),

    from W_s at φ = 0 to the dense W_d at φ = 1, where a pruner finds what it found the first time. In between, a
    pruned weight is back by the share φ_jj ≤ 1 of its size, so the old mask is favoured: this is why re-densing alone
    gains nothing, and what gradient steps without regularisation do as well.

    Args, and what is raised: as `admm_rounds`.
    """
    gram = problem.gram
    dense = start * gram.scale
    for number in range(1, rounds + 1):
        dense = gram.ridge_solve(problem.scaled_rhs + rho * dense, rho)
        rho *= rho_growth
        mask = pattern.mask(dense.abs(), "row")
        yield Round(number, dense / gram.scale, Pruned(dense * mask / gram.scale, mask))
