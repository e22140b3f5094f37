"""The methods: the base pruner alone, a given checkpoint, three controls, and the two forms of Sparse-Dense-Sparse.

A method is a frozen dataclass whose fields are its options. It starts from the base pruner's result on the dense
weight (phase 1), and may then `redense` (phase 2) and `finish` (phase 3). Both see the problem with its Gram matrix
shrunk by `alpha`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sds_core.errors import SDSError, raise_together
from sds_core.options import faults, option, options_of
from sds_core.pruning import shared_options as shared
from sds_core.pruning.adjust import better, solve_better, solve_kept, straight_through
from sds_core.pruning.layer_problem import LayerProblem, Pruned
from sds_core.pruning.pattern import Pattern
from sds_core.pruning.redense import Round, admm_rounds, gradient_rounds
from sds_core.pruning.registry import Pruner
from sds_core.pruning.swap import refine_mask
from sds_core.pruning.titles import BASE, CHECKPOINT


class Method:
    """A pruning method: what happens to the base pruner's result."""

    title: ClassVar[str]
    """Its name in the app and in reports."""
    redenses: ClassVar[bool] = False
    """Whether it has a phase 2."""
    finishes: ClassVar[bool] = True
    """Whether it has a phase 3."""

    # Shared options, switched off. A method takes one by declaring it as a field; the others refuse it.
    alpha: float = 0.0
    beta: float = 0.0
    sequential: bool = False

    def __post_init__(self) -> None:
        raise_together(list(faults(self)))

    @classmethod
    def phase_numbers(cls) -> tuple[int, ...]:
        """Return the numbers of the paper's phases that it runs."""
        return (1, *((2,) if cls.redenses else ()), *((3,) if cls.finishes else ()))

    def redense(self, problem: LayerProblem, sparse: Pruned, pattern: Pattern) -> Iterator[Round]:
        """Phase 2 on the shrunk problem; the dense weight of the last round is its result."""
        raise NotImplementedError

    def finish(
        self, problem: LayerProblem, sparse: Pruned, dense: Tensor | None, pruner: Pruner, pattern: Pattern
    ) -> tuple[str, Pruned]:
        """Phase 3 on the shrunk problem: the candidate that the early exit kept, and the final weight.

        A method without a phase 3 of its own leaves the sparse weight, for parts of the block to be adjusted.
        """
        return "", sparse


@dataclass(frozen=True, kw_only=True)
class Base(Method):
    """The base pruner alone."""

    title: ClassVar[str] = "base pruner"
    finishes: ClassVar[bool] = False


@dataclass(frozen=True, kw_only=True)
class Checkpoint(Method):
    """Weights that were pruned elsewhere, taken as they are."""

    title: ClassVar[str] = "existing checkpoint"
    finishes: ClassVar[bool] = False


@dataclass(frozen=True, kw_only=True)
class Adjusted(Method):
    """Control without a dense phase: the base pruner's mask, its kept weights re-solved."""

    title: ClassVar[str] = "base + adjustment"

    alpha: float = shared.alpha()
    beta: float = shared.beta()
    sequential: bool = shared.sequential()

    def finish(
        self, problem: LayerProblem, sparse: Pruned, dense: Tensor | None, pruner: Pruner, pattern: Pattern
    ) -> tuple[str, Pruned]:
        return "adjusted", solve_kept(problem, sparse)


@dataclass(frozen=True, kw_only=True)
class StraightThrough(Method):
    """Control of equal cost without a dense phase: straight-through steps for as long as all of `sds` takes."""

    title: ClassVar[str] = "base + straight-through"

    adjust_iterations: int = shared.adjust_iterations(45)
    learning_rate: float = shared.learning_rate()
    alpha: float = shared.alpha()
    beta: float = shared.beta()

    def finish(
        self, problem: LayerProblem, sparse: Pruned, dense: Tensor | None, pruner: Pruner, pattern: Pattern
    ) -> tuple[str, Pruned]:
        steps, rate = self.adjust_iterations, self.learning_rate
        moved = straight_through(problem, sparse, pattern, iterations=steps, learning_rate=rate)
        return "adjusted", solve_kept(problem, moved)


@dataclass(frozen=True, kw_only=True)
class Swaps(Method):
    """Control that moves the mask only: the dense layer's weights on a refined mask (`swap.refine_mask`)."""

    title: ClassVar[str] = "base + mask swaps"

    swaps: int = option(100, "Maximum number of mask swaps per row.", low=0, high=100_000)
    alpha: float = shared.alpha()
    beta: float = shared.beta()

    def finish(
        self, problem: LayerProblem, sparse: Pruned, dense: Tensor | None, pruner: Pruner, pattern: Pattern
    ) -> tuple[str, Pruned]:
        return "swapped", refine_mask(problem, sparse.mask, pattern, swaps=self.swaps)


@dataclass(frozen=True, kw_only=True)
class SDS(Method):
    """Sparse-Dense-Sparse as in the paper (Li et al., arXiv 2408.10473).

    Phase 2: gradient steps with L1 and L2 from the sparse weight. Phase 3: the base pruner again, then
    straight-through adjustment towards the dense layer, skipped where the second prune alone is better. The weights of
    the best mask are then re-solved exactly, the limit of further steps with that mask.
    """

    title: ClassVar[str] = "SDS"
    redenses: ClassVar[bool] = True

    iterations: int = option(20, "Gradient steps of phase 2.", low=1, high=10_000)
    learning_rate: float = shared.learning_rate()
    l1: float = option(0.01, "L1 regularisation of phase 2, relative to the mean weight.", low=0, high=100)
    l2: float = option(0.001, "L2 regularisation of phase 2.", low=0, high=100)
    adjust_iterations: int = shared.adjust_iterations(20)
    alpha: float = shared.alpha()
    beta: float = shared.beta()

    def redense(self, problem: LayerProblem, sparse: Pruned, pattern: Pattern) -> Iterator[Round]:
        return gradient_rounds(
            problem,
            sparse.weight,
            pattern,
            iterations=self.iterations,
            learning_rate=self.learning_rate,
            l1=self.l1,
            l2=self.l2,
        )

    def finish(
        self, problem: LayerProblem, sparse: Pruned, dense: Tensor | None, pruner: Pruner, pattern: Pattern
    ) -> tuple[str, Pruned]:
        assert dense is not None
        second = pruner.solve(LayerProblem(dense, problem.gram), pattern)
        steps, rate = self.adjust_iterations, self.learning_rate
        moved = straight_through(problem, second, pattern, iterations=steps, learning_rate=rate)
        return better(problem, {"second prune": second, "adjusted": solve_kept(problem, moved)})


@dataclass(frozen=True, kw_only=True)
class SDSAdmm(Method):
    """Sparse-Dense-Sparse by the alternating direction method of multipliers (ours).

    Phase 2: rounds of dense solve and prune. Phase 3: the base pruner again with its kept weights
    re-solved, unless the first prune with its kept weights re-solved is better.
    """

    title: ClassVar[str] = "SDS-ADMM"
    redenses: ClassVar[bool] = True

    rounds: int = option(
        12,
        "Rounds of phase 2; after 3 to 6 of the default growth the mask is often worse than the first.",
        low=1,
        high=1000,
    )
    rho: float = option(
        0.1, "Penalty ρ of the first round: holds its dense solve near the sparse weight.", low=1e-6, high=1e6
    )
    rho_growth: float = option(
        1.3,
        "Factor on ρ after every round; fewer rounds want a larger one (6 rounds: 1.7), more a smaller (25: 1.15).",
        low=1,
        high=10,
    )
    alpha: float = shared.alpha()
    beta: float = shared.beta(0.2)
    sequential: bool = shared.sequential(True)

    def redense(self, problem: LayerProblem, sparse: Pruned, pattern: Pattern) -> Iterator[Round]:
        return admm_rounds(
            problem, sparse.weight, pattern, rounds=self.rounds, rho=self.rho, rho_growth=self.rho_growth
        )

    def finish(
        self, problem: LayerProblem, sparse: Pruned, dense: Tensor | None, pruner: Pruner, pattern: Pattern
    ) -> tuple[str, Pruned]:
        assert dense is not None
        second = pruner.solve(LayerProblem(dense, problem.gram), pattern)
        return solve_better(problem, {"second prune": second, "first prune": sparse})


METHODS: dict[str, type[Method]] = {
    BASE: Base,
    "adjusted": Adjusted,
    "straight-through": StraightThrough,
    "swaps": Swaps,
    "sds": SDS,
    "sds-admm": SDSAdmm,
    CHECKPOINT: Checkpoint,
}


def matched_options(method: Method) -> dict[str, float]:
    """The options that a method and its control must agree on."""
    return {name: getattr(method, name) for name in ("alpha", "beta", "sequential")}


def option_names(method: str) -> list[str]:
    """The options of the named method; none for an unknown name."""
    return list(options_of(METHODS[method])) if method in METHODS else []


def make_method(name: str, options: Mapping[str, float]) -> Method:
    """The named method with some of its options set.

    Raises:
        SDSError: no method has that name, it has no such option, or a value is not allowed.
    """
    if name not in METHODS:
        raise SDSError("unknown method", got=name, allowed=", ".join(METHODS))
    known = option_names(name)
    for option_name in options:
        if option_name not in known:
            raise SDSError(f"method {name} has no option {option_name}", allowed=", ".join(known) or "none")
    return METHODS[name](**options)
