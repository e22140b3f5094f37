"""The suite itself: for every check there is a pruner that breaks this one promise, and only that check catches it."""

from itertools import count

import pytest
import torch

from sds_core.pruning.conformance import CHECKS, broken_promise, check, outcomes
from sds_core.pruning.layer_problem import LayerProblem, Pruned
from sds_core.pruning.magnitude import Magnitude
from sds_core.pruning.pattern import NM, Unstructured
from sds_core.pruning.wanda import Wanda


class Broken(Wanda):
    """Wanda, with something wrong in `spoil`."""

    def solve(self, problem, pattern):
        return self.spoil(super().solve(problem, pattern), problem, pattern)


class ReturnsTheMaskOnly(Broken):
    def spoil(self, pruned, problem, pattern):
        return pruned.mask


class TurnsTheWeight(Broken):
    def spoil(self, pruned, problem, pattern):
        return Pruned(pruned.weight.T, pruned.mask)


class AlwaysRaises(Broken):
    def spoil(self, pruned, problem, pattern):
        raise ZeroDivisionError("by nothing")


class WorksInDouble(Broken):
    def spoil(self, pruned, problem, pattern):
        return Pruned(pruned.weight.double(), pruned.mask)


class MaskOfNumbers(Broken):
    def spoil(self, pruned, problem, pattern):
        return Pruned(pruned.weight, pruned.mask.byte())


class BlowsUp(Broken):
    def spoil(self, pruned, problem, pattern):
        whole = pattern == Unstructured("0")
        return Pruned(torch.where(pruned.mask & (not whole), torch.inf, pruned.weight), pruned.mask)


class ForgetsToPrune(Broken):
    def spoil(self, pruned, problem, pattern):
        return Pruned(problem.weight.clone(), pruned.mask)


class PrunesOneMore(Broken):
    """Wherever anything is pruned."""

    def spoil(self, pruned, problem, pattern):
        mask = pruned.mask.clone()
        if not mask.all():
            mask[tuple(mask.nonzero()[0])] = False
        return Pruned(problem.weight * mask, mask)


class OnlyNarrow(Broken):
    """Right up to 128 columns, and one too few after them."""

    def spoil(self, pruned, problem, pattern):
        mask = pruned.mask.clone()
        if mask.shape[1] > 128 and len(mask) > 1:
            mask[0, 128:] = False
        return Pruned(problem.weight * mask, mask)


class PrunesInPlace(Broken):
    def spoil(self, pruned, problem, pattern):
        problem.weight.mul_(pruned.mask)
        return Pruned(problem.weight.clone(), pruned.mask)


class CountsItsCalls(Broken):
    calls = count(1)

    def spoil(self, pruned, problem, pattern):
        whole = pattern == Unstructured("0")
        return Pruned(pruned.weight * (1 if whole else next(self.calls)), pruned.mask)


class AddsTheNorm(Wanda):
    def scores(self, problem):
        return problem.weight.abs() + problem.gram.norms


class KeepsNoDeadOnes(Broken):
    """Also where the pattern leaves no choice."""

    def spoil(self, pruned, problem, pattern):
        mask = pruned.mask & ~(problem.gram.dead & (problem.gram.norms.sum() > 0))
        return Pruned(problem.weight * mask, mask)


class ComparesWithOtherRows(Wanda):
    def scores(self, problem):
        return super().scores(problem) / (1 / (len(problem.weight) - 1))


class DividesByTheInputs(Wanda):
    def scores(self, problem):
        return super().scores(problem) / problem.gram.norms.sum()


class ShrinksWhatIsKept(Broken):
    def spoil(self, pruned, problem, pattern):
        return Pruned(0.9 * pruned.weight, pruned.mask)


class TellsOtherScores(Wanda):
    def scores(self, problem):
        return -super().scores(problem)

    def solve(self, problem, pattern):
        return Wanda().solve(problem, pattern)


class TellsNorms(TellsOtherScores):
    def scores(self, problem):
        return problem.gram.norms


BROKEN = {
    "result": [ReturnsTheMaskOnly, TurnsTheWeight, AlwaysRaises],
    "precision": [WorksInDouble, MaskOfNumbers],
    "finite": [BlowsUp],
    "zeros": [ForgetsToPrune],
    "count": [PrunesOneMore, OnlyNarrow],
    "problem": [PrunesInPlace],
    "repeatable": [CountsItsCalls],
    "dead inputs": [AddsTheNorm],
    "few inputs": [KeepsNoDeadOnes],
    "thin layers": [ComparesWithOtherRows],
    "no inputs": [DividesByTheInputs],
    "nothing to prune": [ShrinksWhatIsKept],
    "scores": [TellsOtherScores, TellsNorms],
}
"""By the one check that catches them."""
CASES = [(name, cls) for name, classes in BROKEN.items() for cls in classes]


def test_for_every_check_there_is_a_pruner_that_fails_it():
    assert list(BROKEN) == list(CHECKS)


@pytest.mark.parametrize(("name", "cls"), CASES, ids=lambda value: getattr(value, "__name__", value))
def test_a_broken_promise_is_caught_by_its_own_check_and_told(name, cls):
    (failure,) = check(cls())
    assert failure.check == name
    assert failure.told == f"expected {CHECKS[name].claim}; came {failure.came}" and len(failure.came) < 200


def test_numbers_of_a_failure_are_right():
    (failure,) = check(PrunesOneMore())
    assert failure.came == "1 in 1 of 60 groups of 2:4 (6×40 weights in float64 at 2:4)"
    (failure,) = check(AddsTheNorm())
    assert failure.came.startswith("30 weights kept")  # of 6 rows, five dead inputs
    (failure,) = check(AlwaysRaises())
    assert failure.came == "ZeroDivisionError: by nothing" and isinstance(failure.error, ZeroDivisionError)


def test_every_check_has_an_outcome_unless_nothing_can_be_learnt_from_it():
    asked = lambda pruner: [outcome.check for outcome in outcomes(pruner)]
    assert asked(Wanda()) == list(CHECKS)
    assert asked(AlwaysRaises()) == ["result"]
    assert asked(ForgetsToPrune()) == ["result", "precision", "finite", "zeros", "count"]


def test_one_result_is_looked_at_on_its_own():
    problem = LayerProblem.from_gram(torch.tensor([[1.0, 2.0, 3.0, 4.0]]), torch.eye(4))
    sound = Magnitude().solve(problem, NM(2, 4))
    assert broken_promise(sound, problem, NM(2, 4)) is None
    assert broken_promise(Pruned(problem.weight, sound.mask), problem, NM(2, 4)).check == "zeros"
    assert broken_promise(sound, problem, NM(1, 4)).came == "2 in 1 of 1 groups of 1:4"
    assert broken_promise(sound, problem, Unstructured("0.3")).came == "2 of 4 pruned at 30%"


@pytest.mark.parametrize("rows", [[0.5, 0.5], [0.25, 0.75]])
def test_a_ratio_may_be_exact_in_the_layer_or_in_every_row(rows):
    mask = torch.stack([torch.arange(8) >= 8 * share for share in rows])
    problem = LayerProblem.from_gram(torch.ones(2, 8), torch.eye(8))
    assert broken_promise(Pruned(1.0 * mask, mask), problem, Unstructured("0.5")) is None
