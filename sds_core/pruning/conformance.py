"""The conformance suite: properties that every pruner must have, shared by the tests and by plugin pruners."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from sds_core.pruning.invariants import INVARIANTS, dtype_of, shape_of, violation
from sds_core.pruning.layer_problem import LayerProblem, Pruned
from sds_core.pruning.pattern import parse_pattern
from sds_core.pruning.precision import has_float64
from sds_core.pruning.registry import Pruner

PATTERNS = ("2:4", "1:4", "4:8", "50%", "29%", "0")
DTYPES = (torch.float64, torch.float32)
WIDE = 136
"""Columns of a layer wider than one 128-column block of SparseGPT."""
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Outcome:
    """The outcome of one check."""

    check: str
    """The check's name, a key of `CHECKS`."""
    actual: str | None
    """The failure, expected against actual; None if the check passed."""
    error: Exception | None = None
    """The exception that the pruner raised, if any."""

    @property
    def message(self) -> str:
        """One clause: what was expected and what happened."""
        expected = f"expected {CHECKS[self.check].expected}"
        return f"{expected}; got {self.actual}" if self.actual else expected


class Subject:
    """A pruner under test, with small layer problems on one device to try it on."""

    def __init__(self, pruner: Pruner, device: torch.device):
        self.pruner, self.device = pruner, device

    def problem(
        self,
        rows: int = 6,
        columns: int = 40,
        dead: Sequence[int] = (),
        dtype: torch.dtype = torch.float64,
        seed: int = 0,
    ) -> LayerProblem:
        """Return Gaussian weights, the same for every seed, with correlated inputs of very different scales."""
        generator = torch.Generator().manual_seed(columns)
        draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)
        weight = draw(rows, columns)
        generator.manual_seed(1000 + seed)
        inputs = draw(columns, 1).exp() * (draw(columns, 20) @ draw(20, 200) + 2 * draw(columns, 200))
        inputs[list(dead)] = 0
        gram = inputs @ inputs.T / inputs.shape[1]
        kind = dtype if has_float64(self.device) else torch.float32
        return LayerProblem.from_gram(weight.to(kind).to(self.device), gram.to(kind).to(self.device))

    def solve(self, problem: LayerProblem, pattern: str) -> Pruned:
        """Prune a problem to a pattern."""
        return self.pruner.solve(problem, parse_pattern(pattern))

    def violations(self, problem: LayerProblem, *patterns: str) -> Iterator[str]:
        """Yield the invariants that results on an unusual problem violate."""
        for pattern in patterns:
            if found := violation(self.solve(problem, pattern), problem, parse_pattern(pattern)):
                yield f"{found.actual} ({found.name}; {_case(problem, pattern)})"

    @cached_property
    def results(self) -> list[tuple[LayerProblem, str, Pruned]]:
        """Ordinary problems and patterns with the pruner's results."""
        narrow = [(self.problem(dtype=dtype), pattern) for dtype in DTYPES for pattern in PATTERNS]
        wide = [(self.problem(3, WIDE, dtype=torch.float32), pattern) for pattern in ("2:4", "50%")]
        return [(problem, pattern, self.solve(problem, pattern)) for problem, pattern in narrow + wide]


@dataclass(frozen=True)
class Check:
    """One property of a pruner."""

    expected: str
    """The property, as a noun phrase."""
    failures: Callable[[Subject], Iterator[str]]
    """Yield what the pruner does instead, for each case in which it lacks the property."""


def outcomes(pruner: Pruner, device: torch.device = CPU) -> Iterator[Outcome]:
    """Run the checks on small problems on `device` and yield their outcomes in the order of `CHECKS`.

    Stops after a result without a usable mask and weight, and after the invariants if one of them is violated: later
    checks would only repeat the finding.
    """
    subject, failed = Subject(pruner, device), list[str]()
    for name, check in CHECKS.items():
        if failed and (failed[0] in ("structure", "dtype") or name not in INVARIANTS):
            return
        try:
            outcome = Outcome(name, next(check.failures(subject), None))
        except Exception as error:  # noqa: BLE001, any exception of a pruner is a finding
            outcome = Outcome(name, f"{type(error).__name__}: {error}", error)
        failed += [name] if outcome.actual else []
        yield outcome


def failures(pruner: Pruner, device: torch.device = CPU) -> list[Outcome]:
    """Return the checks that a pruner fails; empty for a pruner that conforms."""
    return [outcome for outcome in outcomes(pruner, device) if outcome.actual]


def _invariant(name: str) -> Callable[[Subject], Iterator[str]]:
    """Return the check of one invariant on all ordinary results."""

    def failures(subject: Subject) -> Iterator[str]:
        for problem, pattern, pruned in subject.results:
            if actual := INVARIANTS[name].violation(pruned, problem, parse_pattern(pattern)):
                yield f"{actual} ({_case(problem, pattern)})"

    return failures


def _no_side_effects(subject: Subject) -> Iterator[str]:
    for pattern in PATTERNS:
        problem = subject.problem(dead=[3])
        weight, gram = problem.weight.clone(), problem.gram.matrix.clone()
        subject.solve(problem, pattern)
        if not torch.equal(problem.weight, weight):
            yield f"a modified weight ({pattern})"
        if not torch.equal(problem.gram.matrix, gram):
            yield f"a modified Gram matrix ({pattern})"


def _deterministic(subject: Subject) -> Iterator[str]:
    for problem, pattern, first in subject.results:
        if problem.weight.dtype != torch.float32:
            continue  # one dtype is enough
        second = subject.solve(LayerProblem.from_gram(problem.weight, problem.gram.matrix), pattern)
        if not torch.equal(first.mask, second.mask):
            yield f"a different mask the second time ({pattern})"
        if not torch.equal(first.weight, second.weight):
            yield f"different weights the second time ({pattern})"


def _dead_inputs(subject: Subject) -> Iterator[str]:
    dead = [1, 6, 7, 20, 38]
    for pattern in ("2:4", "50%"):
        masks = [subject.solve(subject.problem(seed=seed), pattern).mask for seed in range(2)]
        if torch.equal(*masks):
            continue  # the mask ignores the inputs, as magnitude's does
        problem = subject.problem(dead=dead)
        problem.weight[:, dead] *= 100
        if kept := int(subject.solve(problem, pattern).mask[:, dead].sum()):
            yield f"{kept} weights kept on dead inputs ({pattern})"


def _few_live_inputs(subject: Subject) -> Iterator[str]:
    return subject.violations(subject.problem(dead=range(4, 40)), "2:4", "25%")


def _thin_layers(subject: Subject) -> Iterator[str]:
    for rows, columns in ((1, 8), (8, 1), (1, 1), (1, WIDE)):
        yield from subject.violations(subject.problem(rows, columns), "50%")
    yield from subject.violations(subject.problem(1, 8), "2:4")


def _no_live_inputs(subject: Subject) -> Iterator[str]:
    for dtype in DTYPES:
        live = subject.problem(4, 16, dtype=dtype)
        problem = LayerProblem.from_gram(live.weight, torch.zeros_like(live.gram.matrix))
        yield from subject.violations(problem, "2:4", "50%")


def _ratio_zero(subject: Subject) -> Iterator[str]:
    for dead in ([], [1, 6, 7]):
        problem = subject.problem(dead=dead)
        pruned = subject.solve(problem, "0")
        if count := int((~pruned.mask).sum()):
            yield f"{count} pruned weights ({len(dead)} dead inputs)"
        if changed := int((pruned.weight != problem.weight).sum()):
            yield f"{changed} changed weights ({len(dead)} dead inputs)"


def _scores(subject: Subject) -> Iterator[str]:
    score = getattr(subject.pruner, "scores", None)
    if score is None:
        return
    problem = subject.problem(6, 8)
    scores = score(problem)
    if not isinstance(scores, Tensor) or scores.shape != problem.weight.shape or not scores.isfinite().all():
        yield f"a {type(scores).__name__} that is not one finite score per weight"
        return
    mask, scores = subject.solve(problem, "2:4").mask.reshape(-1, 4), scores.reshape(-1, 4)
    lowest = scores.masked_fill(~mask, torch.inf).amin(dim=1)
    highest = scores.masked_fill(mask, -torch.inf).amax(dim=1)
    if wrong := int((lowest < highest).sum()):
        yield f"another mask in {wrong} of {len(mask)} groups of 2:4"


def _case(problem: LayerProblem, pattern: str) -> str:
    return f"{shape_of(problem.weight)} weights in {dtype_of(problem.weight)} at {pattern}"


CHECKS: dict[str, Check] = {
    **{name: Check(invariant.expected, _invariant(name)) for name, invariant in INVARIANTS.items()},
    "no side effects": Check("an unmodified problem", _no_side_effects),
    "deterministic": Check("bit-identical results for identical problems", _deterministic),
    "dead inputs": Check("dead inputs pruned first, if the mask depends on the inputs", _dead_inputs),
    "few live inputs": Check("a valid result when most inputs are dead", _few_live_inputs),
    "thin layers": Check("a valid result for a layer of one row or one column", _thin_layers),
    "no live inputs": Check("a valid result when the Gram matrix is zero", _no_live_inputs),
    "ratio 0": Check("unchanged weights at ratio 0", _ratio_zero),
    "scores": Check("a mask that keeps the highest of the pruner's own scores, if it has any", _scores),
}
"""Every check by name, in the order in which they run."""
