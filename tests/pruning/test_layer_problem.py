import pytest
import torch

from sds_core.errors import SDSError
from sds_core.pruning.gram import Gram, GramAccumulator
from sds_core.pruning.layer_problem import LayerProblem, Pruned
from tests.pruning.references import correlated_inputs, half_error, jacobi, output_error, random_weight

ROWS, COLUMNS, TOKENS = 5, 8, 60
WEIGHT, INPUTS = random_weight(ROWS, COLUMNS), correlated_inputs(COLUMNS, TOKENS)
OTHER = random_weight(ROWS, COLUMNS, seed=2)
PROBLEM = LayerProblem.from_inputs(WEIGHT, INPUTS)


def sample_loss(other):
    return output_error(other, WEIGHT, INPUTS)


@pytest.mark.parametrize("other", [OTHER, WEIGHT * (WEIGHT.abs() > 0.5), 2 * WEIGHT])
def test_loss_is_the_relative_error_on_samples(other):
    assert PROBLEM.loss(other) == pytest.approx(sample_loss(other), rel=1e-10)


def test_loss_is_zero_dense_and_one_without_weights():
    assert PROBLEM.loss(WEIGHT) == 0
    assert PROBLEM.loss(torch.zeros_like(WEIGHT)) == pytest.approx(1)


def test_the_loss_of_a_silent_layer_is_zero():
    assert LayerProblem(torch.zeros(2, 3), Gram(torch.eye(3))).loss(torch.zeros(2, 3)) == 0


@pytest.mark.parametrize("beta", [0.2, 1.0])
def test_loss_with_a_teacher_is_relative_to_dense(beta):
    teacher_inputs = INPUTS + 0.3 * correlated_inputs(COLUMNS, TOKENS, seed=5)
    target = WEIGHT @ INPUTS + beta * WEIGHT @ (teacher_inputs - INPUTS)
    shift = beta * WEIGHT @ (teacher_inputs - INPUTS) @ INPUTS.T / TOKENS
    problem = LayerProblem(WEIGHT, PROBLEM.gram, shift)
    energy = (WEIGHT @ INPUTS).square().sum() / TOKENS
    difference = 2 * (half_error(OTHER, target, INPUTS) - half_error(WEIGHT, target, INPUTS))
    assert problem.loss(OTHER) == pytest.approx(float(difference / energy), rel=1e-9)
    torch.testing.assert_close(problem.rhs, target @ INPUTS.T / TOKENS)


def test_an_accumulated_teacher_shift_makes_the_teachers_rhs():
    teacher_inputs = INPUTS + 0.3 * correlated_inputs(COLUMNS, TOKENS, seed=5)
    sums = GramAccumulator(COLUMNS, cross=True)
    sums.add(INPUTS.T, teacher_inputs.T)
    weight = WEIGHT.float()
    problem = LayerProblem(weight, sums.gram("x"), weight @ sums.teacher_shift())
    expected = WEIGHT @ teacher_inputs @ INPUTS.T / TOKENS
    assert float((problem.rhs - expected).norm() / expected.norm()) < 1e-6


def test_rhs_without_a_teacher_is_the_layers_output():
    torch.testing.assert_close(PROBLEM.rhs, WEIGHT @ INPUTS @ INPUTS.T / TOKENS)


def test_scaled_quantities_are_those_of_scaled_inputs():
    _, scaled_weight, scaled_inputs = jacobi(WEIGHT, INPUTS)
    torch.testing.assert_close(PROBLEM.scaled_weight, scaled_weight)
    torch.testing.assert_close(PROBLEM.scaled_rhs, WEIGHT @ INPUTS @ scaled_inputs.T / TOKENS)


def test_shrinking_recomputes_rhs_and_keeps_shift():
    shift = random_weight(ROWS, COLUMNS, seed=3)
    gram = INPUTS @ INPUTS.T / TOKENS
    shrunk = LayerProblem(WEIGHT, PROBLEM.gram, shift).shrunk(0.3)
    blended = 0.7 * gram + 0.3 * torch.diag(gram.diagonal())
    torch.testing.assert_close(shrunk.gram.matrix, blended)
    torch.testing.assert_close(shrunk.rhs, WEIGHT @ blended + shift)


def test_float32_inputs_agree_to_rounding():
    problem = LayerProblem.from_inputs(WEIGHT.float(), INPUTS.float())
    assert problem.weight.dtype == problem.gram.matrix.dtype == torch.float32
    assert problem.loss(OTHER.float()) == pytest.approx(sample_loss(OTHER), rel=1e-5)


def test_a_given_gram_matrix_gives_the_same_problem():
    problem = LayerProblem.from_gram(WEIGHT, INPUTS @ INPUTS.T / TOKENS)
    assert problem.loss(OTHER) == pytest.approx(sample_loss(OTHER), rel=1e-10)
    half = LayerProblem.from_gram(WEIGHT.to(torch.bfloat16), torch.eye(COLUMNS, dtype=torch.float64))
    assert half.weight.dtype == half.gram.matrix.dtype == torch.float32


def test_broken_inputs_name_the_layer():
    inputs = INPUTS.clone()
    inputs[0, 0] = torch.nan
    for make in (
        lambda: LayerProblem.from_inputs(WEIGHT, inputs, "layer 7"),
        lambda: LayerProblem.from_inputs(WEIGHT.float(), inputs.float(), "layer 7"),
        lambda: LayerProblem.from_gram(WEIGHT, inputs @ inputs.T, "layer 7"),
    ):
        with pytest.raises(SDSError, match="layer 7"):
            make()


def test_shapes_and_precisions_must_match():
    with pytest.raises(AssertionError):
        LayerProblem(torch.zeros(2, 3), Gram(torch.eye(4)))
    with pytest.raises(AssertionError):
        LayerProblem(torch.zeros(2, 3), Gram(torch.eye(3, dtype=torch.float64)))


def test_sparsity_counts_the_mask_and_not_the_zeros():
    pruned = Pruned(torch.zeros(2, 4), torch.tensor([[True, True, True, False]] * 2))
    assert pruned.sparsity == 0.25


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("beta", [0.0, 0.4])
def test_observed_energy_needs_the_shrunk_product_only(alpha, beta):
    gram = INPUTS @ INPUTS.T / INPUTS.shape[1]
    shift = beta * random_weight(*WEIGHT.shape, seed=3) @ gram
    shrunk = LayerProblem(WEIGHT, Gram(gram), shift).shrunk(alpha)
    product = scaled_product(OTHER - WEIGHT, alpha)
    assert shrunk.observed_energy(OTHER - WEIGHT, product) == pytest.approx(sample_loss(OTHER), rel=1e-9)


@pytest.mark.parametrize("alpha", [0.9, 0.99, 0.9999])
def test_observed_energy_is_exact_in_float32_however_much_is_shrunk(alpha):
    shrunk = LayerProblem.from_inputs(WEIGHT.float(), INPUTS.float()).shrunk(alpha)
    found = shrunk.observed_energy(0.1 * WEIGHT.float(), scaled_product(0.1 * WEIGHT, alpha).float())
    assert float(found) == pytest.approx(sample_loss(1.1 * WEIGHT), rel=1e-3)


def scaled_product(change, alpha):
    """D H̃_α (R, C)."""
    gram = INPUTS @ INPUTS.T / TOKENS
    return change @ ((1 - alpha) * gram + alpha * torch.diag(gram.diagonal())) / gram.diagonal().sqrt()
