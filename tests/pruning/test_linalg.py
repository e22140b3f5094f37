from itertools import pairwise

import pytest
import torch

from sds_core.pruning import linalg
from sds_core.pruning.linalg import (
    curvature,
    largest_eigenvalue,
    masked_conjugate_gradients,
    ridge_inverse,
    upper_inverse_factor,
)
from tests.pruning.references import correlated_inputs, jacobi, random_weight, solve_on_support


def system(rows, columns, tokens=200, seed=0):
    """A unit-diagonal matrix, a right-hand side and a random support."""
    _, weight, inputs = jacobi(random_weight(rows, columns, seed + 1), correlated_inputs(columns, tokens, seed))
    matrix = inputs @ inputs.T / tokens
    generator = torch.Generator().manual_seed(seed)
    return matrix, weight @ matrix, torch.rand(rows, columns, generator=generator) < 0.6


def objective(matrix, rhs, solution):
    return ((solution @ matrix) * solution - 2 * solution * rhs).sum(dim=1)


def test_the_factor_squares_to_the_damped_inverse():
    matrix, _, _ = system(1, 8)
    factor = upper_inverse_factor(matrix, 0.1)
    assert torch.equal(factor, factor.triu()) and (factor.diagonal() > 0).all()
    expected = torch.linalg.inv(matrix + 0.1 * torch.eye(8, dtype=torch.float64))
    torch.testing.assert_close(factor.T @ factor, expected)


def test_an_indefinite_matrix_has_no_factor():
    matrix = torch.tensor([[1.0, 2.0], [2.0, 1.0]], dtype=torch.float64)
    with pytest.raises(torch.linalg.LinAlgError):
        upper_inverse_factor(matrix, 0.5)


@pytest.mark.parametrize("columns", [4, 5, 11, 16])
def test_matrices_split_into_halves_have_the_same_inverses(columns, monkeypatch):
    monkeypatch.setattr(linalg, "BASE", 2)
    matrix, _, _ = system(1, columns)
    expected = torch.linalg.inv(matrix + 0.1 * torch.eye(columns, dtype=torch.float64))
    torch.testing.assert_close(ridge_inverse(matrix, 0.1), expected)
    factor = upper_inverse_factor(matrix, 0.1)
    assert torch.equal(factor, factor.triu()) and (factor.diagonal() > 0).all()
    torch.testing.assert_close(factor.T @ factor, expected)


def test_an_indefinite_matrix_is_noticed_in_either_half(monkeypatch):
    monkeypatch.setattr(linalg, "BASE", 2)
    for place in (0, 7):
        matrix = torch.eye(8, dtype=torch.float64)
        matrix[place, place] = -1
        for inverse in (ridge_inverse, upper_inverse_factor):
            with pytest.raises(torch.linalg.LinAlgError):
                inverse(matrix, 0.5)


@pytest.mark.parametrize("columns", [3, 4, 10])
def test_half_a_product_gives_the_whole_curvature(columns, monkeypatch):
    monkeypatch.setattr(linalg, "STRIP", 4)
    matrix, change, _ = system(5, columns)
    expected = torch.einsum("rc,cd,rd->", change, matrix, change)
    assert curvature(change, matrix) == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.parametrize("values", [[5.0, 1.0, 0.5, 0.0], [3.0, 2.0, 2.0, 1.0], [7.0, 7.0, 1.0, 1.0]])
def test_the_largest_eigenvalue_is_found(values):
    rotation, _ = torch.linalg.qr(random_weight(4, 4))
    matrix = rotation @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ rotation.T
    assert largest_eigenvalue(matrix) == pytest.approx(values[0], rel=1e-6)


def test_a_zero_matrix_gets_a_usable_eigenvalue():
    assert largest_eigenvalue(torch.zeros(3, 3)) == 1.0


@pytest.mark.parametrize("seed", range(4))
def test_conjugate_gradients_equal_exact_row_solves(seed):
    matrix, rhs, support = system(6, 12, seed=seed)
    support[0] = False
    support[1] = True
    solution, _ = masked_conjugate_gradients(matrix, rhs, support, torch.zeros_like(rhs), max_steps=60, tolerance=1e-11)
    torch.testing.assert_close(solution, solve_on_support(matrix, rhs, support), rtol=1e-6, atol=1e-8)
    assert (solution[~support] == 0).all()


def test_the_start_does_not_change_the_solution():
    matrix, rhs, support = system(6, 12)
    start = 3 * random_weight(6, 12, seed=9)
    solution, _ = masked_conjugate_gradients(matrix, rhs, support, start, max_steps=60, tolerance=1e-11)
    torch.testing.assert_close(solution, solve_on_support(matrix, rhs, support), rtol=1e-6, atol=1e-8)


def test_every_step_lowers_every_rows_objective():
    matrix, rhs, support = system(6, 24)
    start = random_weight(6, 24, seed=9)
    values = [
        objective(matrix, rhs, masked_conjugate_gradients(matrix, rhs, support, start, steps, 0.0)[0])
        for steps in range(6)
    ]
    torch.testing.assert_close(values[0], objective(matrix, rhs, start * support))
    assert all((after < before).all() for before, after in pairwise(values))


def test_iteration_stops_once_the_tolerance_is_met():
    matrix, rhs, support = system(20, 40)
    solution, _ = masked_conjugate_gradients(matrix, rhs, support, torch.zeros_like(rhs), max_steps=500, tolerance=1e-2)
    residual = torch.where(support, rhs - solution @ matrix, 0).norm() / torch.where(support, rhs, 0).norm()
    assert 1e-5 < residual <= 1.01e-2


def test_a_converged_start_is_returned_unchanged():
    matrix, rhs, support = system(6, 12)
    exact = solve_on_support(matrix, rhs, support)
    assert torch.equal(masked_conjugate_gradients(matrix, rhs, support, exact)[0], exact)


def test_float32_stays_float32_and_inputs_stay_untouched():
    matrix, rhs, support = system(6, 12)
    arguments = [matrix.float(), rhs.float(), support, random_weight(6, 12).float()]
    before = [argument.clone() for argument in arguments]
    assert masked_conjugate_gradients(*arguments)[0].dtype == torch.float32
    assert all(torch.equal(*pair) for pair in zip(arguments, before, strict=True))


@pytest.mark.parametrize("seed", range(5))
def test_a_collinear_row_stays_finite_beside_others(seed):
    inputs = correlated_inputs(16, 64, seed).float()
    inputs[1], inputs[2] = 1.7 * inputs[0], 0.3 * inputs[0]
    _, weight, inputs = jacobi(random_weight(6, 16).float(), inputs)
    matrix = inputs @ inputs.T / 64
    rhs = weight @ matrix
    support = torch.ones(6, 16, dtype=torch.bool)
    support[0, 3:] = False
    start = torch.zeros_like(rhs)
    solution, _ = masked_conjugate_gradients(matrix, rhs, support, start)
    assert solution.isfinite().all()
    assert (objective(matrix, rhs, solution) < objective(matrix, rhs, start)).all()
    assert solution.abs().max() < 100 * weight.abs().max()
