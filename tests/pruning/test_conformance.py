"""The conformance suite: for every check, a pruner that fails this check and no other."""

from itertools import count

import pytest
import torch

from sds_core.pruning.conformance import CHECKS, failures, outcomes
from sds_core.pruning.invariants import INVARIANTS, violation
from sds_core.pruning.layer_problem import LayerProblem, Pruned
from sds_core.pruning.magnitude import Magnitude
from sds_core.pruning.pattern import NM, Unstructured
from sds_core.pruning.wanda import Wanda


class Broken(Wanda):
    """Wanda with a defect, added by `spoil`."""

    def solve(self, problem, pattern):
        return self.spoil(super().solve(problem, pattern), problem, pattern)


class ReturnsMaskOnly(Broken):
    def spoil(self, pruned, problem, pattern):
        return pruned.mask


class TransposesWeight(Broken):
    def spoil(self, pruned, problem, pattern):
        return Pruned(pruned.weight.T, pruned.mask)


class AlwaysRaises(Broken):
    def spoil(self, pruned, problem, pattern):
        raise ZeroDivisionError("by nothing")


class ReturnsDouble(Broken):
    def spoil(self, pruned, problem, pattern):
        return Pruned(pruned.weight.double(), pruned.mask)


class IntegerMask(Broken):
    def spoil(self, pruned, problem, pattern):
        return Pruned(pruned.weight, pruned.mask.byte())


class ReturnsInfinity(Broken):
    def spoil(self, pruned, problem, pattern):
        whole = pattern == Unstructured("0")
        return Pruned(torch.where(pruned.mask & (not whole), torch.inf, pruned.weight), pruned.mask)


class ForgetsToPrune(Broken):
    def spoil(self, pruned, problem, pattern):
        return Pruned(problem.weight.clone(), pruned.mask)


class PrunesOneMore(Broken):
    """Unless nothing is pruned."""

    def spoil(self, pruned, problem, pattern):
        mask = pruned.mask.clone()
        if not mask.all():
            mask[tuple(mask.nonzero()[0])] = False
        return Pruned(problem.weight * mask, mask)


class MiscountsWideLayers(Broken):
    """Exact up to 128 columns, wrong beyond."""

    def spoil(self, pruned, problem, pattern):
        mask = pruned.mask.clone()
        if mask.shape[1] > 128 and len(mask) > 1:
            mask[0, 128:] = False
        return Pruned(problem.weight * mask, mask)


class PrunesInPlace(Broken):
    def spoil(self, pruned, problem, pattern):
        problem.weight.mul_(pruned.mask)
        return Pruned(problem.weight.clone(), pruned.mask)


class DependsOnCallCount(Broken):
    calls = count(1)

    def spoil(self, pruned, problem, pattern):
        whole = pattern == Unstructured("0")
        return Pruned(pruned.weight * (1 if whole else next(self.calls)), pruned.mask)


class AddsNorm(Wanda):
    def scores(self, problem):
        return problem.weight.abs() + problem.gram.norms


class PrunesAllDead(Broken):
    """Even where the pattern requires one to be kept."""

    def spoil(self, pruned, problem, pattern):
        mask = pruned.mask & ~(problem.gram.dead & (problem.gram.norms.sum() > 0))
        return Pruned(problem.weight * mask, mask)


class DividesByOtherRows(Wanda):
    def scores(self, problem):
        return super().scores(problem) / (1 / (len(problem.weight) - 1))


class DividesByInputs(Wanda):
    def scores(self, problem):
        return super().scores(problem) / problem.gram.norms.sum()


class ShrinksKeptWeights(Broken):
    def spoil(self, pruned, problem, pattern):
        return Pruned(0.9 * pruned.weight, pruned.mask)


class ZeroesDeadInputs(Broken):
    def spoil(self, pruned, problem, pattern):
        return Pruned(pruned.weight.masked_fill(problem.gram.dead, 0), pruned.mask)


class ReportsNegatedScores(Wanda):
    def scores(self, problem):
        return -super().scores(problem)

    def solve(self, problem, pattern):
        return Wanda().solve(problem, pattern)


class ReportsNormsAsScores(ReportsNegatedScores):
    def scores(self, problem):
        return problem.gram.norms


BROKEN = {
    "structure": [ReturnsMaskOnly, TransposesWeight, AlwaysRaises],
    "dtype": [ReturnsDouble, IntegerMask],
    "finite": [ReturnsInfinity],
    "zeros": [ForgetsToPrune],
    "sparsity": [PrunesOneMore, MiscountsWideLayers],
    "no side effects": [PrunesInPlace],
    "deterministic": [DependsOnCallCount],
    "dead inputs": [AddsNorm],
    "few live inputs": [PrunesAllDead],
    "thin layers": [DividesByOtherRows],
    "no live inputs": [DividesByInputs],
    "ratio 0": [ShrinksKeptWeights, ZeroesDeadInputs],
    "scores": [ReportsNegatedScores, ReportsNormsAsScores],
}
"""Defective pruners by the one check that they fail."""
CASES = [(name, cls) for name, classes in BROKEN.items() for cls in classes]


def test_every_check_has_a_failing_pruner():
    assert list(BROKEN) == list(CHECKS)


@pytest.mark.parametrize(("name", "cls"), CASES, ids=lambda value: getattr(value, "__name__", value))
def test_each_defect_fails_only_its_check(name, cls):
    (failure,) = failures(cls())
    assert failure.check == name
    assert failure.message == f"expected {CHECKS[name].expected}; got {failure.actual}" and len(failure.actual) < 200


def test_failures_carry_exact_counts():
    (failure,) = failures(PrunesOneMore())
    assert failure.actual == "1 kept in 1 of 60 groups of 2:4 (6×40 weights in float64 at 2:4)"
    (failure,) = failures(AddsNorm())
    assert failure.actual.startswith("30 weights kept")  # 6 rows, five dead inputs
    (failure,) = failures(AlwaysRaises())
    assert failure.actual == "ZeroDivisionError: by nothing" and isinstance(failure.error, ZeroDivisionError)


def test_suite_stops_where_later_checks_add_nothing():
    names = lambda pruner: [outcome.check for outcome in outcomes(pruner)]
    assert names(Wanda()) == list(CHECKS)
    assert names(AlwaysRaises()) == ["structure"]
    assert names(ForgetsToPrune()) == list(INVARIANTS)


def test_single_result_is_checked_alone():
    problem = LayerProblem.from_gram(torch.tensor([[1.0, 2.0, 3.0, 4.0]]), torch.eye(4))
    valid = Magnitude().solve(problem, NM(2, 4))
    assert violation(valid, problem, NM(2, 4)) is None
    assert violation(Pruned(problem.weight, valid.mask), problem, NM(2, 4)).name == "zeros"
    found = violation(valid, problem, NM(1, 4))
    assert found.message == f"expected {INVARIANTS['sparsity'].expected}; got 2 kept in 1 of 1 groups of 1:4"
    assert violation(valid, problem, Unstructured("0.3")).actual == "2 of 4 pruned at 30%"


@pytest.mark.parametrize("rows", [[0.5, 0.5], [0.25, 0.75]])
def test_ratio_is_exact_per_layer_or_per_row(rows):
    mask = torch.stack([torch.arange(8) >= 8 * share for share in rows])
    problem = LayerProblem.from_gram(torch.ones(2, 8), torch.eye(8))
    assert violation(Pruned(1.0 * mask, mask), problem, Unstructured("0.5")) is None
