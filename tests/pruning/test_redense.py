from itertools import pairwise

import pytest
import torch

from sds_core.pruning.gram import Gram
from sds_core.pruning.layer_problem import LayerProblem
from sds_core.pruning.pattern import NM, Unstructured
from sds_core.pruning.redense import admm_rounds, gradient_rounds, proximal_rounds
from sds_core.pruning.wanda import Wanda
from tests.pruning.references import admm_rounds as slow_admm_rounds
from tests.pruning.references import (
    correlated_inputs,
    gradient_descent,
    jacobi,
    output_error,
    random_weight,
    select_groups,
    select_rows,
    top_eigenvalue,
)

ROWS, COLUMNS, TOKENS = 6, 16, 120
WEIGHT, INPUTS = random_weight(ROWS, COLUMNS), correlated_inputs(COLUMNS, TOKENS)
PROBLEM = LayerProblem.from_inputs(WEIGHT, INPUTS)
SPARSE = Wanda().solve(PROBLEM, NM(2, 4)).weight
SCALE, SCALED_WEIGHT, SCALED_INPUTS = jacobi(WEIGHT, INPUTS)
SCALED_GRAM = SCALED_INPUTS @ SCALED_INPUTS.T / TOKENS
TOP = 1.02 * top_eigenvalue(SCALED_INPUTS)


def gradient_redense(problem, start, *, iterations, learning_rate, l1, l2):
    """The weight after the last gradient step."""
    steps = {"iterations": iterations, "learning_rate": learning_rate, "l1": l1, "l2": l2}
    *_, last = gradient_rounds(problem, start, NM(2, 4), **steps)
    return last.dense


@pytest.mark.parametrize("learning_rate", [0.1, 1.0])
def test_every_plain_step_is_gradient_descent_on_samples(learning_rate):
    rounds = list(gradient_rounds(PROBLEM, SPARSE, NM(2, 4), iterations=25, learning_rate=learning_rate, l1=0, l2=0))
    assert [round.number for round in rounds] == list(range(1, 26))
    for round in rounds:
        expected = gradient_descent(WEIGHT, SPARSE, INPUTS, round.number, learning_rate / TOP)
        torch.testing.assert_close(round.dense, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("pattern", "select"),
    [(NM(2, 4), select_groups(2, 4)), (Unstructured("0.6"), select_rows("0.6"))],
    ids=["2:4", "0.6"],
)
def test_a_gradient_step_is_pruned_by_wandas_score(pattern, select):
    for round in gradient_rounds(PROBLEM, SPARSE, pattern, iterations=3, learning_rate=1.0, l1=0.01, l2=0.001):
        assert torch.equal(round.sparse.mask, select(round.dense.abs() * SCALE))
        torch.testing.assert_close(round.sparse.weight, round.dense * round.sparse.mask)


def test_a_rounds_mask_is_made_on_first_use(monkeypatch):
    made = []
    mask = NM.mask
    monkeypatch.setattr(NM, "mask", lambda self, *args: made.append(1) or mask(self, *args))
    rounds = list(gradient_rounds(PROBLEM, SPARSE, NM(2, 4), iterations=5, learning_rate=1.0, l1=0, l2=0))
    assert made == []
    assert rounds[3].sparse is rounds[3].sparse
    assert made == [1]


@pytest.mark.parametrize(("l1", "l2"), [(0.3, 0.0), (0.0, 0.2), (0.3, 0.05)])
def test_the_converged_weight_meets_the_optimality_conditions(l1, l2):
    dense = gradient_redense(PROBLEM, SPARSE, iterations=6000, learning_rate=1.0, l1=l1, l2=l2) * SCALE
    slope = (dense - SCALED_WEIGHT) @ SCALED_GRAM + l2 * dense
    price = l1 * float(SCALED_WEIGHT.abs().mean())
    alive = dense != 0
    torch.testing.assert_close(slope[alive], -price * dense[alive].sign(), rtol=0, atol=1e-7)
    assert (slope[~alive].abs() <= price + 1e-7).all()
    assert bool((~alive).any()) == (l1 > 0)


def test_the_objective_never_rises():
    def objective(dense):
        scaled = dense * SCALE
        error = ((scaled - SCALED_WEIGHT) @ SCALED_INPUTS).square().sum() / TOKENS
        penalty = 0.3 * SCALED_WEIGHT.abs().mean() * scaled.abs().sum() + 0.5 * 0.1 * scaled.square().sum()
        return float(0.5 * error + penalty)

    values = [
        objective(gradient_redense(PROBLEM, SPARSE, iterations=steps, learning_rate=1.0, l1=0.3, l2=0.1))
        for steps in range(1, 30)
    ]
    assert all(after <= before + 1e-12 for before, after in pairwise(values)) and values[-1] < values[0]


@pytest.mark.parametrize("learning_rate", [0, 1.1, -0.5])
def test_step_lengths_out_of_range_are_refused(learning_rate):
    with pytest.raises(AssertionError):
        gradient_redense(PROBLEM, SPARSE, iterations=1, learning_rate=learning_rate, l1=0, l2=0)


@pytest.mark.parametrize(
    ("pattern", "select"),
    [(NM(2, 4), select_groups(2, 4)), (Unstructured("0.6"), select_rows("0.6"))],
    ids=["2:4", "0.6"],
)
@pytest.mark.parametrize(("rho", "rho_growth"), [(0.1, 1.3), (0.5, 1.0)])
def test_admm_rounds_equal_the_slow_ones(pattern, select, rho, rho_growth):
    start = Wanda().solve(PROBLEM, pattern).weight
    rounds = list(admm_rounds(PROBLEM, start, pattern, rounds=12, rho=rho, rho_growth=rho_growth))
    slow = list(slow_admm_rounds(WEIGHT, start, INPUTS, select, 12, rho, rho_growth))
    assert [round.number for round in rounds] == list(range(1, 13))
    for round, (dense, sparse, mask) in zip(rounds, slow, strict=True):
        assert torch.equal(round.sparse.mask, mask)
        torch.testing.assert_close(round.dense, dense, rtol=1e-7, atol=1e-9)
        torch.testing.assert_close(round.sparse.weight, sparse, rtol=1e-7, atol=1e-9)


def test_a_shift_is_part_of_the_target():
    rho, shift = 0.1, 0.1 * random_weight(ROWS, COLUMNS, seed=4) @ PROBLEM.gram.matrix
    problem = LayerProblem(WEIGHT, PROBLEM.gram, shift)
    (first,) = admm_rounds(problem, SPARSE, NM(2, 4), rounds=1, rho=rho, rho_growth=1.3)
    slope = (first.dense * SCALE) @ SCALED_GRAM - (WEIGHT @ PROBLEM.gram.matrix + shift) / SCALE
    torch.testing.assert_close(slope, -rho * (first.dense - SPARSE) * SCALE, rtol=1e-8, atol=1e-10)
    step = gradient_redense(problem, SPARSE, iterations=1, learning_rate=1.0, l1=0, l2=0)
    moved = (SPARSE - WEIGHT) @ PROBLEM.gram.matrix - shift
    torch.testing.assert_close(step, SPARSE - moved / SCALE.square() / TOP, rtol=1e-6, atol=1e-8)


def test_float32_rounds_agree_with_float64_at_first():
    problem = LayerProblem.from_inputs(WEIGHT.float(), INPUTS.float())
    single, double = (
        next(admm_rounds(at, start, NM(2, 4), rounds=1, rho=0.1, rho_growth=1.3))
        for at, start in ((problem, SPARSE.float()), (PROBLEM, SPARSE))
    )
    assert single.dense.dtype == single.sparse.weight.dtype == torch.float32
    torch.testing.assert_close(single.dense.double(), double.dense, rtol=1e-3, atol=1e-4)


def test_dead_inputs_stay_finite():
    inputs = INPUTS.clone().float()
    inputs[[2, 9]] = 0
    problem = LayerProblem.from_inputs(WEIGHT.float(), inputs)
    start = Wanda().solve(problem, NM(2, 4)).weight
    dense = gradient_redense(problem, start, iterations=20, learning_rate=1.0, l1=0.01, l2=0.001)
    assert dense.isfinite().all() and dense.abs().max() < 100
    for round in admm_rounds(problem, start, NM(2, 4), rounds=12, rho=0.1, rho_growth=1.3):
        assert round.dense.isfinite().all() and round.dense.abs().max() < 100
        assert not round.sparse.mask[:, [2, 9]].any()


def test_the_start_is_not_modified():
    start = SPARSE.clone()
    gradient_redense(PROBLEM, start, iterations=3, learning_rate=1.0, l1=0.1, l2=0.1)
    list(admm_rounds(PROBLEM, start, NM(2, 4), rounds=3, rho=0.1, rho_growth=1.3))
    assert torch.equal(start, SPARSE)


def wanda_mask_change(problem, dense, pattern, before):
    after = Wanda().solve(LayerProblem(dense, problem.gram), pattern).mask
    return float((before & ~after).sum() / before.sum())


@pytest.mark.parametrize("pattern", [NM(2, 4), Unstructured("0.5")], ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_admm_moves_the_mask_more_than_plain_steps(pattern, seed):
    inputs = correlated_inputs(64, 600, seed, common=2.5, own=2.5)
    problem = LayerProblem.from_inputs(random_weight(64, 64, seed + 1), inputs).shrunk(0.2)
    first = Wanda().solve(problem, pattern)
    plain = gradient_redense(problem, first.weight, iterations=20, learning_rate=1.0, l1=0, l2=0)
    *_, last = admm_rounds(problem, first.weight, pattern, rounds=12, rho=0.1, rho_growth=1.3)
    changed_by_steps = wanda_mask_change(problem, plain, pattern, first.mask)
    changed_by_rounds = wanda_mask_change(problem, last.dense, pattern, first.mask)
    assert changed_by_steps < 0.01
    assert changed_by_rounds > 5 * changed_by_steps and changed_by_rounds > 0.025


def test_later_dense_weights_have_more_near_zero():
    inputs = correlated_inputs(64, 400, common=0.5)
    problem = LayerProblem.from_inputs(random_weight(64, 64), inputs).shrunk(0.2)
    start = Wanda().solve(problem, NM(2, 4)).weight
    rounds = list(admm_rounds(problem, start, NM(2, 4), rounds=12, rho=0.1, rho_growth=1.3))
    near_zero = [float((round.dense.abs() < 0.1).double().mean()) for round in (rounds[0], rounds[3], rounds[-1])]
    assert near_zero[0] < near_zero[1] < near_zero[2]


def test_the_plain_path_filters_by_eigenvalue():
    path = list(proximal_rounds(PROBLEM, SPARSE, NM(2, 4), rounds=5, rho=0.1, rho_growth=1.3))
    values, vectors = torch.linalg.eigh(SCALED_GRAM)
    left = torch.ones_like(values)  # 1 − φ
    for number, one in enumerate(path, start=1):
        rho = 0.1 * 1.3 ** (number - 1)
        left = left * rho / (values + rho)
        expected = SCALED_WEIGHT - (SCALED_WEIGHT - SPARSE * SCALE) @ (vectors * left) @ vectors.T
        assert one.number == number
        torch.testing.assert_close(one.dense * SCALE, expected, rtol=1e-6, atol=1e-9)
        assert torch.equal(one.sparse.mask, select_groups(2, 4)(expected.abs()))
        torch.testing.assert_close(one.sparse.weight, one.dense * one.sparse.mask)


def test_the_plain_path_ends_at_the_dense_weight():
    *_, last = proximal_rounds(PROBLEM, SPARSE, NM(2, 4), rounds=200, rho=0.01, rho_growth=1)
    torch.testing.assert_close(last.dense, WEIGHT, rtol=1e-4, atol=1e-4)
    assert torch.equal(last.sparse.mask, SPARSE != 0)


@pytest.mark.parametrize("alpha", [0.0, 0.2])
@pytest.mark.parametrize("kind", [admm_rounds, proximal_rounds, gradient_rounds])
def test_a_rounds_loss_is_the_output_error_of_its_dense_weight(kind, alpha):
    gram = INPUTS @ INPUTS.T / TOKENS
    problem = LayerProblem(WEIGHT, Gram(gram), 0.1 * random_weight(ROWS, COLUMNS, seed=9) @ gram)
    fit, start = problem.shrunk(alpha), Wanda().solve(problem, NM(2, 4)).weight
    options = {"rounds": 4, "rho": 0.1, "rho_growth": 1.5}
    if kind is gradient_rounds:
        options = {"iterations": 4, "learning_rate": 0.9, "l1": 0.01, "l2": 0.01}
    for one in kind(fit, start, NM(2, 4), **options):
        assert one.loss == pytest.approx(output_error(one.dense, WEIGHT, INPUTS), rel=1e-9)


@pytest.mark.parametrize("alpha", [0.0, 0.2])
@pytest.mark.parametrize("kind", [admm_rounds, proximal_rounds, gradient_rounds])
def test_a_massive_input_leaves_a_rounds_loss_exact_in_float32(kind, alpha):
    """Its share of the dense outputs' energy is about a million times that of the others."""
    inputs = correlated_inputs(64, 400, common=0.5).float()
    inputs[5] *= 1000
    weight = random_weight(64, 64).float()
    problem = LayerProblem.from_inputs(weight, inputs)
    fit, start = problem.shrunk(alpha), Wanda().solve(problem, NM(2, 4)).weight
    options = {"rounds": 4, "rho": 0.1, "rho_growth": 1.3}
    if kind is gradient_rounds:
        options = {"iterations": 4, "learning_rate": 1.0, "l1": 0.0, "l2": 0.0}
    for one in kind(fit, start, NM(2, 4), **options):
        exact = output_error(one.dense.double(), weight.double(), inputs.double())
        assert one.loss == pytest.approx(exact, rel=1e-2)


def test_rounds_end_well_whatever_their_penalty():
    problem = LayerProblem.from_inputs(WEIGHT.float(), INPUTS.float())
    rounds = list(admm_rounds(problem.shrunk(0.2), SPARSE.float(), NM(2, 4), rounds=400, rho=0.1, rho_growth=1.3))
    assert torch.finfo(torch.float32).max < 0.1 * 1.3**399
    assert torch.equal(rounds[-1].sparse.mask, rounds[59].sparse.mask)
    torch.testing.assert_close(rounds[-1].dense, rounds[-1].sparse.weight, rtol=1e-4, atol=1e-5)
    for one in rounds[19::20]:
        assert one.loss == pytest.approx(output_error(one.dense.double(), WEIGHT, INPUTS), rel=2e-3)
