"""What happens to one layer: the base pruner alone, three controls without a dense phase, and the two ways of SDS.

A method is a frozen dataclass whose fields are its options. Every method starts from a base pruner's result on the
dense weight (phase 1) and may then `redense` (phase 2) and `finish` (phase 3). All of them see the problem with its
Gram matrix shrunk by `alpha`, and may aim at the dense stream's outputs by `beta`. With `block_epochs` the layers of a
block are adjusted together at the end (`models.block_reconstruction`).
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Protocol

from torch import Tensor

from sds_core.errors import SDSError
from sds_core.pruning.adjust import better, solve_kept, straight_through
from sds_core.pruning.layer_problem import LayerProblem, Pruned
from sds_core.pruning.pattern import Pattern
from sds_core.pruning.redense import Round, admm_rounds, gradient_redense
from sds_core.pruning.registry import Pruner
from sds_core.pruning.swap import refine_mask

LIMITS: dict[str, tuple[float, float]] = {
    "alpha": (0, 1),
    "beta": (0, 1),
    "iterations": (1, 10_000),
    "adjust_iterations": (0, 10_000),
    "learning_rate": (1e-6, 1),
    "l1": (0, 100),
    "l2": (0, 100),
    "swaps": (0, 100_000),
    "rounds": (1, 1000),
    "rho": (1e-6, 1e6),
    "rho_growth": (1, 10),
    "block_epochs": (0, 1000),
}
"""What an option may be, in whichever method it is; one whose default is a whole number takes whole numbers only."""


class _Checked:
    """Refuses options out of their limits."""

    def __post_init__(self) -> None:
        for option in fields(self):  # type: ignore[arg-type]
            value = getattr(self, option.name)
            if isinstance(option.default, bool):
                if not isinstance(value, bool):
                    raise SDSError(f"option {option.name} is yes or no", got=value, allowed="True or False")
                continue
            low, high = LIMITS[option.name]
            if isinstance(option.default, int) and not isinstance(value, int):
                raise SDSError(f"option {option.name} must be a whole number", got=value)
            if not low <= value <= high:
                raise SDSError(f"option {option.name} out of range", got=value, allowed=f"{low:g} to {high:g}")


class _LayerByLayer:
    """For methods that solve every layer of a block by itself, as it was before the block was worked on."""

    sequential: ClassVar[bool] = False
    block_epochs: ClassVar[int] = 0


class Method(Protocol):
    """A way to go on from the base pruner's result."""

    title: ClassVar[str]
    """Its name where people read it."""
    redenses: ClassVar[bool]
    """Whether it has a phase 2."""
    finishes: ClassVar[bool]
    """Whether it has a phase 3."""

    @property
    def alpha(self) -> float: ...

    @property
    def beta(self) -> float: ...

    @property
    def sequential(self) -> bool: ...

    @property
    def block_epochs(self) -> int: ...

    def redense(self, problem: LayerProblem, sparse: Pruned, pattern: Pattern) -> Iterator[Round]:
        """Phase 2 on the shrunk problem: the rounds to look at; the last one's dense weight goes on."""
        ...

    def finish(
        self, problem: LayerProblem, sparse: Pruned, dense: Tensor | None, pruner: Pruner, pattern: Pattern
    ) -> tuple[str, Pruned]:
        """Phase 3 on the shrunk problem: the final weight, and which candidate won the early exit."""
        ...


@dataclass(frozen=True, kw_only=True)
class Base(_LayerByLayer):
    """The base pruner alone."""

    title: ClassVar[str] = "base pruner"
    redenses: ClassVar[bool] = False
    finishes: ClassVar[bool] = False
    alpha: ClassVar[float] = 0.0
    beta: ClassVar[float] = 0.0


@dataclass(frozen=True, kw_only=True)
class Checkpoint(Base):
    """Weights that were pruned elsewhere, looked at as they are."""

    title: ClassVar[str] = "existing checkpoint"


@dataclass(frozen=True, kw_only=True)
class Adjusted(_Checked):
    """The control without a dense phase: the base pruner's mask, its weights solved for."""

    title: ClassVar[str] = "base + adjustment"
    redenses: ClassVar[bool] = False
    finishes: ClassVar[bool] = True

    alpha: float = 0.2
    """Shrinkage of the Gram matrix towards its diagonal, 0 to 1."""
    beta: float = 0.0
    """Share of the teacher in the target: 0 aims at the dense layer on the sparse model's inputs (SD), 1 at the
    dense layer on the dense model's inputs (KD)."""
    sequential: bool = False
    """Whether a layer sees the layers before it in its own block as they have become, not as they were; costs up to
    two forwards more."""
    block_epochs: int = 0
    """Passes over the calibration windows in which all kept weights of a block are adjusted together, by Adam, towards
    the dense block's output, once its layers are solved; two cost about as much as everything else."""

    def finish(
        self, problem: LayerProblem, sparse: Pruned, dense: Tensor | None, pruner: Pruner, pattern: Pattern
    ) -> tuple[str, Pruned]:
        return "adjusted", solve_kept(problem, sparse)


@dataclass(frozen=True, kw_only=True)
class StraightThrough(_LayerByLayer, _Checked):
    """The control of equal cost without a dense phase: what SDS spends on it goes into more steps of its phase 3."""

    title: ClassVar[str] = "base + straight-through"
    redenses: ClassVar[bool] = False
    finishes: ClassVar[bool] = True

    adjust_iterations: int = 45
    """Straight-through steps; the default takes about the time of all of `sds`."""
    learning_rate: float = 1.0
    """Step length, in units of the longest stable step 1/λ_max; 0 (excluded) to 1."""
    alpha: float = 0.2
    """Shrinkage of the Gram matrix towards its diagonal, 0 to 1."""
    beta: float = 0.0
    """Share of the teacher in the target, 0 to 1."""

    def finish(
        self, problem: LayerProblem, sparse: Pruned, dense: Tensor | None, pruner: Pruner, pattern: Pattern
    ) -> tuple[str, Pruned]:
        steps, rate = self.adjust_iterations, self.learning_rate
        moved = straight_through(problem, sparse, pattern, iterations=steps, learning_rate=rate)
        return "adjusted", solve_kept(problem, moved)


@dataclass(frozen=True, kw_only=True)
class Swaps(_LayerByLayer, _Checked):
    """The control that moves the mask only: the dense layer's weights on a refined mask (`swap.refine_mask`)."""

    title: ClassVar[str] = "base + mask swaps"
    redenses: ClassVar[bool] = False
    finishes: ClassVar[bool] = True

    swaps: int = 100
    """Most swaps in a row of weights."""
    alpha: float = 0.2
    """Shrinkage of the Gram matrix towards its diagonal, 0 to 1."""
    beta: float = 0.0
    """Share of the teacher in the target, 0 to 1."""

    def finish(
        self, problem: LayerProblem, sparse: Pruned, dense: Tensor | None, pruner: Pruner, pattern: Pattern
    ) -> tuple[str, Pruned]:
        return "swapped", refine_mask(problem, sparse.mask, pattern, swaps=self.swaps)


@dataclass(frozen=True, kw_only=True)
class SDS(_LayerByLayer, _Checked):
    """Sparse-Dense-Sparse as in the paper (Li et al., arXiv 2408.10473).

    Phase 2: gradient steps with L1 and L2 from the sparse weight. Phase 3: the base pruner again, then
    straight-through adjustment towards the dense layer, skipped where the second prune alone is better. The best
    mask's weights are solved for at the end, which is where ever more steps with that mask would lead.
    """

    title: ClassVar[str] = "SDS"
    redenses: ClassVar[bool] = True
    finishes: ClassVar[bool] = True

    iterations: int = 20
    """Gradient steps of phase 2."""
    learning_rate: float = 1.0
    """Step length of phases 2 and 3, in units of the longest stable step 1/λ_max; 0 (excluded) to 1."""
    l1: float = 0.01
    """L1 regularisation of phase 2, relative to the mean weight."""
    l2: float = 0.001
    """L2 regularisation of phase 2."""
    adjust_iterations: int = 20
    """Straight-through steps of phase 3."""
    alpha: float = 0.2
    """Shrinkage of the Gram matrix towards its diagonal, 0 to 1."""
    beta: float = 0.0
    """Share of the teacher in the target: 0 is the paper's SD, 1 its KD."""

    def redense(self, problem: LayerProblem, sparse: Pruned, pattern: Pattern) -> Iterator[Round]:
        dense = gradient_redense(
            problem,
            sparse.weight,
            iterations=self.iterations,
            learning_rate=self.learning_rate,
            l1=self.l1,
            l2=self.l2,
        )
        yield Round(1, dense, sparse)

    def finish(
        self, problem: LayerProblem, sparse: Pruned, dense: Tensor | None, pruner: Pruner, pattern: Pattern
    ) -> tuple[str, Pruned]:
        assert dense is not None
        second = pruner.solve(LayerProblem(dense, problem.gram), pattern)
        steps, rate = self.adjust_iterations, self.learning_rate
        moved = straight_through(problem, second, pattern, iterations=steps, learning_rate=rate)
        return better(problem, {"second prune": second, "adjusted": solve_kept(problem, moved)})


@dataclass(frozen=True, kw_only=True)
class SDSAdmm(_Checked):
    """Sparse-Dense-Sparse in rounds, with a memory of what each prune threw away (ADMM; ours).

    Phase 2: rounds of dense solve and prune. Phase 3: the base pruner again, the kept weights solved for; the
    base pruner's first result with its weights solved for is kept instead where it is better.
    """

    title: ClassVar[str] = "SDS with memory"
    redenses: ClassVar[bool] = True
    finishes: ClassVar[bool] = True

    rounds: int = 12
    """Rounds of phase 2; stopping early (2 to 6) is worse than not starting."""
    rho: float = 0.1
    """How strongly the first dense solve is held near the sparse weight, ρ."""
    rho_growth: float = 1.3
    """Factor on the rho after every round; more rounds want less rho_growth (25 rounds: 1.15)."""
    alpha: float = 0.2
    """Shrinkage of the Gram matrix towards its diagonal, 0 to 1."""
    beta: float = 0.2
    """Share of the teacher in the target, 0 to 1; costs a second, dense stream through the model."""
    sequential: bool = True
    """Whether a layer sees the layers before it in its own block as they have become, not as they were; costs up to
    two forwards more."""
    block_epochs: int = 0
    """Passes over the calibration windows in which all kept weights of a block are adjusted together, by Adam, towards
    the dense block's output, once its layers are solved; two cost about as much as everything else."""

    def redense(self, problem: LayerProblem, sparse: Pruned, pattern: Pattern) -> Iterator[Round]:
        return admm_rounds(
            problem, sparse.weight, pattern, rounds=self.rounds, rho=self.rho, rho_growth=self.rho_growth
        )

    def finish(
        self, problem: LayerProblem, sparse: Pruned, dense: Tensor | None, pruner: Pruner, pattern: Pattern
    ) -> tuple[str, Pruned]:
        assert dense is not None
        second = pruner.solve(LayerProblem(dense, problem.gram), pattern)
        candidates = {"second prune": solve_kept(problem, second), "first prune": solve_kept(problem, sparse)}
        return better(problem, candidates)


METHODS: dict[str, Any] = {
    "base": Base,
    "adjusted": Adjusted,
    "straight-through": StraightThrough,
    "swaps": Swaps,
    "sds": SDS,
    "sds-admm": SDSAdmm,
    "checkpoint": Checkpoint,
}


def aim(method: Method) -> dict[str, Any]:
    """The options by which a method sees and aims: its control shares them."""
    return {name: getattr(method, name) for name in ("alpha", "beta", "sequential", "block_epochs")}


def option_names(method: str) -> list[str]:
    """The options of the named method; none where no method has that name."""
    return [field.name for field in fields(METHODS[method])] if method in METHODS else []


def make_method(name: str, options: dict[str, float]) -> Method:
    """The named method with some of its options set.

    Raises:
        SDSError: no method has that name, it has no such option, or a value is out of range.
    """
    if name not in METHODS:
        raise SDSError("unknown method", got=name, allowed=", ".join(METHODS))
    known = option_names(name)
    for option in options:
        if option not in known:
            raise SDSError(f"method {name} has no option {option}", allowed=", ".join(known) or "none")
    return METHODS[name](**options)
