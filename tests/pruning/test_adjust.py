from itertools import pairwise

import pytest
import torch

from sds_core.pruning.adjust import better, solve_better, solve_kept, straight_through
from sds_core.pruning.layer_problem import LayerProblem, Pruned
from sds_core.pruning.pattern import NM, Unstructured
from sds_core.pruning.wanda import Wanda
from tests.pruning.references import (
    correlated_inputs,
    exact_counts,
    jacobi,
    random_weight,
    select_groups,
    select_layer,
    solve_on_support,
    top_eigenvalue,
)
from tests.pruning.references import straight_through as slow_straight_through

ROWS, COLUMNS, TOKENS = 6, 16, 120
WEIGHT, INPUTS = random_weight(ROWS, COLUMNS), correlated_inputs(COLUMNS, TOKENS)
PROBLEM = LayerProblem.from_inputs(WEIGHT, INPUTS)
PRUNED = Wanda().solve(PROBLEM, NM(2, 4))
GRAM = INPUTS @ INPUTS.T / TOKENS
TOP = 1.02 * top_eigenvalue(jacobi(WEIGHT, INPUTS)[2])


def test_kept_weights_solve_the_normal_equations():
    solved = solve_kept(PROBLEM, PRUNED)
    exact = solve_on_support(GRAM, WEIGHT @ GRAM, PRUNED.mask)
    assert torch.equal(solved.mask, PRUNED.mask) and (solved.weight[~solved.mask] == 0).all()
    assert PROBLEM.loss(exact) < 0.7 * PROBLEM.loss(PRUNED.weight)
    assert PROBLEM.loss(solved.weight) == pytest.approx(PROBLEM.loss(exact), rel=1e-3)
    torch.testing.assert_close(solved.weight * PROBLEM.gram.scale, exact * PROBLEM.gram.scale, rtol=0, atol=0.1)


def test_a_teachers_shift_is_solved_for_as_well():
    shift = 0.2 * random_weight(ROWS, COLUMNS, seed=4) @ GRAM
    problem = LayerProblem(WEIGHT, PROBLEM.gram, shift)
    exact = solve_on_support(GRAM, WEIGHT @ GRAM + shift, PRUNED.mask)
    assert problem.loss(solve_kept(problem, PRUNED).weight) == pytest.approx(problem.loss(exact), rel=1e-3)


@pytest.mark.parametrize("seed", range(10))
def test_solving_is_never_worse_than_masking(seed):
    inputs = correlated_inputs(32, 20, seed).float()
    problem = LayerProblem.from_inputs(random_weight(8, 32, seed).float(), inputs).shrunk(0.2)
    pruned = Wanda().solve(problem, NM(2, 4))
    assert problem.loss(solve_kept(problem, pruned).weight) <= problem.loss(pruned.weight)


def test_kept_weights_of_collinear_inputs_stay_finite():
    inputs = correlated_inputs(16, 64).float()
    inputs[1], inputs[2] = 1.7 * inputs[0], 0.3 * inputs[0]
    problem = LayerProblem.from_inputs(random_weight(6, 16).float(), inputs)
    mask = torch.ones(6, 16, dtype=torch.bool)
    mask[0, 3:] = False
    solved = solve_kept(problem, Pruned(torch.zeros(6, 16), mask))
    assert solved.weight.isfinite().all() and problem.loss(solved.weight) < 1


@pytest.mark.parametrize("order", [("broken", "sound"), ("sound", "broken")])
def test_candidate_that_is_not_finite_never_wins(order):
    candidates = {"broken": Pruned(torch.full_like(WEIGHT, torch.nan), PRUNED.mask), "sound": PRUNED}
    name, solved = solve_better(PROBLEM, {name: candidates[name] for name in order})
    assert name == "sound" and solved.weight.isfinite().all()


def test_dead_inputs_keep_their_weight_and_disturb_nothing():
    inputs = INPUTS.clone().float()
    inputs[3] = 0
    problem = LayerProblem.from_inputs(WEIGHT.float(), inputs)
    solved = solve_kept(problem, Pruned(problem.weight * PRUNED.mask, PRUNED.mask))
    assert solved.weight.isfinite().all()
    torch.testing.assert_close(solved.weight[:, 3], (problem.weight * PRUNED.mask)[:, 3])


@pytest.mark.parametrize(
    ("pattern", "select"),
    [(NM(2, 4), select_groups(2, 4)), (Unstructured("0.6"), select_layer("0.6"))],
    ids=["2:4", "0.6"],
)
@pytest.mark.parametrize("learning_rate", [0.3, 1.0])
@pytest.mark.parametrize("iterations", [0, 1, 2, 8, 30])
def test_straight_through_equals_autograd_through_an_identity(pattern, select, learning_rate, iterations):
    start = Wanda().solve(PROBLEM, pattern)
    found = straight_through(PROBLEM, start, pattern, iterations=iterations, learning_rate=learning_rate)
    iterates = slow_straight_through(
        WEIGHT, (start.weight, start.mask), INPUTS, select, iterations, learning_rate / TOP, 0.8
    )
    _, weight, mask = min(iterates, key=lambda iterate: iterate[0])
    assert torch.equal(found.mask, mask)
    torch.testing.assert_close(found.weight, weight, rtol=1e-6, atol=1e-8)
    assert exact_counts(found.mask, "2:4" if isinstance(pattern, NM) else "0.6")


def test_straight_through_aims_at_a_teachers_shift():
    shift = 0.2 * random_weight(ROWS, COLUMNS, seed=4) @ GRAM
    problem = LayerProblem(WEIGHT, PROBLEM.gram, shift)
    everything = Pruned(WEIGHT, torch.ones_like(WEIGHT, dtype=torch.bool))
    found = straight_through(problem, everything, Unstructured("0"), iterations=1, learning_rate=1.0)
    torch.testing.assert_close(found.weight, WEIGHT + shift / GRAM.diagonal() / TOP, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("seed", range(3))
def test_masked_weights_return_and_lower_the_loss(seed):
    problem = LayerProblem.from_inputs(random_weight(32, 32, seed), correlated_inputs(32, 300, seed)).shrunk(0.2)
    pruned = Wanda().solve(problem, NM(2, 4))
    found = straight_through(problem, pruned, NM(2, 4), iterations=20, learning_rate=1.0)
    assert (found.mask & ~pruned.mask).any()
    solved = problem.loss(solve_kept(problem, pruned).weight)
    assert problem.loss(solve_kept(problem, found).weight) < solved < problem.loss(pruned.weight)


@pytest.mark.parametrize("seed", range(5))
def test_the_best_iterate_is_kept(seed):
    problem = LayerProblem.from_inputs(random_weight(8, 32, seed), correlated_inputs(32, 200, seed))
    start = solve_kept(problem, Wanda().solve(problem, NM(2, 4)))
    losses = [
        problem.loss(straight_through(problem, start, NM(2, 4), iterations=n, learning_rate=1.0).weight)
        for n in range(12)
    ]
    assert losses[0] == pytest.approx(problem.loss(start.weight))
    assert all(after <= before + 1e-12 for before, after in pairwise(losses))


def test_the_start_is_not_modified():
    weight, mask = PRUNED.weight.clone(), PRUNED.mask.clone()
    solve_kept(PROBLEM, PRUNED)
    straight_through(PROBLEM, PRUNED, NM(2, 4), iterations=5, learning_rate=1.0)
    assert torch.equal(PRUNED.weight, weight) and torch.equal(PRUNED.mask, mask)


def candidate(weight):
    return Pruned(weight, torch.ones_like(weight, dtype=torch.bool))


def test_the_lower_loss_wins_in_either_order():
    near, far = candidate(WEIGHT * 0.9), candidate(WEIGHT * 0.5)
    assert better(PROBLEM, {"near": near, "far": far}) == ("near", near)
    assert better(PROBLEM, {"far": far, "near": near}) == ("near", near)


def test_the_first_of_equal_candidates_wins():
    assert better(PROBLEM, {"b": PRUNED, "a": PRUNED})[0] == "b"


def test_a_candidate_that_is_not_finite_never_wins():
    broken = candidate(torch.full_like(WEIGHT, torch.nan))
    assert better(PROBLEM, {"broken": broken, "sound": PRUNED})[0] == "sound"
    assert better(PROBLEM, {"sound": PRUNED, "broken": broken})[0] == "sound"


@pytest.mark.parametrize("seed", range(5))
def test_solving_the_better_equals_solving_all(seed):
    problem = LayerProblem.from_inputs(random_weight(ROWS, COLUMNS, seed=seed), INPUTS).shrunk(0.2)
    candidates = {"wanda": Wanda().solve(problem, NM(2, 4)), "dense-like": Pruned(problem.weight, PRUNED.mask)}
    solved = {name: solve_kept(problem, candidate) for name, candidate in candidates.items()}
    for order in (list(candidates), list(candidates)[::-1]):
        name, weight = solve_better(problem, {key: candidates[key] for key in order})
        assert name == better(problem, {key: solved[key] for key in order})[0]
        assert torch.equal(weight.weight, solved[name].weight)


def test_a_hopeless_candidate_is_dropped_early(monkeypatch):
    problem = LayerProblem.from_inputs(WEIGHT, INPUTS).shrunk(0.5)
    good, hopeless = Wanda().solve(problem, NM(3, 4)), Wanda().solve(problem, NM(1, 4))
    products = []
    plain = torch.where
    monkeypatch.setattr(torch, "where", lambda *a: products.append(1) or plain(*a))
    solve_kept(problem, hopeless)
    alone = len(products)
    solve_kept(problem, good)
    products_good = len(products) - alone
    products.clear()
    assert solve_better(problem, {"good": good, "hopeless": hopeless})[0] == "good"
    assert len(products) - products_good < alone
