import pytest
import torch

from sds_core.errors import SDSError
from sds_core.pruning import gram as gram_module
from sds_core.pruning.gram import Gram, GramAccumulator
from sds_core.pruning.layer_problem import LayerProblem
from sds_core.pruning.linalg import STRIP
from sds_core.pruning.pattern import NM
from sds_core.pruning.registry import PRUNERS
from tests.pruning.references import correlated_inputs, jacobi, random_weight, top_eigenvalue


def gram_of(inputs):
    return Gram(inputs @ inputs.T / inputs.shape[1], "layer 7")


def with_dead(inputs, *dead):
    inputs = inputs.clone()
    inputs[list(dead)] = 0
    return inputs


def test_accumulating_in_batches_equals_one_go():
    inputs = correlated_inputs(6, 40).float()
    sums = GramAccumulator(6)
    for batch in inputs.T.split([7, 1, 32]):
        sums.add(batch)
    assert sums.tokens == 40
    torch.testing.assert_close(sums.gram("x").matrix.double(), inputs.double() @ inputs.double().T / 40)


def test_batches_may_have_several_leading_dimensions():
    inputs = correlated_inputs(6, 40).float()
    flat, folded = GramAccumulator(6), GramAccumulator(6)
    flat.add(inputs.T)
    folded.add(inputs.T.reshape(4, 10, 6))
    assert folded.tokens == 40
    torch.testing.assert_close(folded.gram("x").matrix, flat.gram("x").matrix)


def test_half_precision_inputs_are_summed_in_float32():
    inputs = correlated_inputs(6, 40).to(torch.bfloat16)
    sums = GramAccumulator(6)
    sums.add(inputs.T)
    torch.testing.assert_close(sums.gram("x").matrix, inputs.float() @ inputs.float().T / 40)


def test_an_accumulated_matrix_is_exactly_symmetric():
    sums = GramAccumulator(17)
    for seed in range(3):
        sums.add(correlated_inputs(17, 13, seed).float().T)
    matrix = sums.gram("x").matrix
    assert torch.equal(matrix, matrix.T)


def test_teacher_shift_is_the_difference_of_both_products():
    student, teacher = correlated_inputs(6, 40, 0), correlated_inputs(6, 40, 1)
    sums = GramAccumulator(6, cross=True)
    for own, other in zip(student.T.float().split(15), teacher.T.float().split(15), strict=True):
        sums.add(own, other)
    expected = (teacher @ student.T - student @ student.T) / 40
    torch.testing.assert_close(sums.teacher_shift().double(), expected, rtol=1e-5, atol=1e-5)


def test_an_equal_teacher_has_zero_shift():
    inputs = correlated_inputs(6, 40).float().T
    sums = GramAccumulator(6, cross=True)
    sums.add(inputs, inputs.clone())
    torch.testing.assert_close(sums.teacher_shift(), torch.zeros(6, 6))


def test_without_a_teacher_there_is_no_shift():
    sums = GramAccumulator(3)
    sums.add(torch.ones(2, 3))
    assert sums.teacher_shift() is None


def test_missing_teacher_or_tokens_are_noticed():
    with pytest.raises(AssertionError):
        GramAccumulator(3, cross=True).add(torch.ones(2, 3))
    with pytest.raises(AssertionError, match="layer 7"):
        GramAccumulator(3).gram("layer 7")


@pytest.mark.parametrize("alpha", [0.0, 0.2, 1.0])
def test_shrinkage_blends_with_the_diagonal(alpha):
    gram = gram_of(correlated_inputs(6, 40))
    expected = (1 - alpha) * gram.matrix + alpha * torch.diag(gram.matrix.diagonal())
    torch.testing.assert_close(gram.shrunk(alpha).matrix, expected)


def test_shrinkage_copies_the_matrix_and_keeps_the_name():
    gram = gram_of(correlated_inputs(6, 40))
    before = gram.matrix.clone()
    assert gram.shrunk(0.5).name == "layer 7"
    assert torch.equal(gram.matrix, before)


def test_layers_that_share_inputs_share_the_shrunk_matrix():
    gram = gram_of(correlated_inputs(6, 40))
    assert gram.shrunk(0.2) is gram.shrunk(0.2)
    assert gram.shrunk(0.2) is not gram.shrunk(0.3)


def test_scaling_gives_a_unit_diagonal():
    inputs = correlated_inputs(6, 40)
    scale, _, scaled = jacobi(random_weight(2, 6), inputs)
    gram = gram_of(inputs)
    torch.testing.assert_close(gram.scale, scale)
    torch.testing.assert_close(gram.norms, scale)
    torch.testing.assert_close(gram.scaled, scaled @ scaled.T / 40)
    torch.testing.assert_close(gram.scaled.diagonal(), torch.ones(6, dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dead_inputs_are_known_and_harmless(dtype):
    gram = gram_of(with_dead(correlated_inputs(6, 40), 1, 4).to(dtype))
    assert gram.dead.tolist() == [False, True, False, False, True, False]
    assert gram.norms[gram.dead].tolist() == [0, 0]
    assert (gram.scale > 0).all() and (gram.scale[gram.dead] < 1e-6 * gram.scale.max()).all()
    assert gram.scaled.isfinite().all() and (gram.scaled[gram.dead] == 0).all()


def test_an_all_zero_matrix_has_finite_factors():
    gram = Gram(torch.zeros(4, 4))
    assert gram.dead.all() and (gram.scale > 0).all()
    assert (
        gram.scaled.isfinite().all()
        and gram.ridge_solve(torch.ones(2, 4), 0.1).isfinite().all()
        and gram.top_eigenvalue > 0
    )
    assert gram.inverse_factor(0.01).isfinite().all()


def test_a_ridge_solve_undoes_the_ridged_product():
    gram = gram_of(correlated_inputs(6, 40))
    wanted = random_weight(3, 6)
    ridged = gram.scaled + 0.3 * torch.eye(6, dtype=torch.float64)
    torch.testing.assert_close(gram.ridge_solve(wanted @ ridged, 0.3), wanted)


def test_a_singular_ridge_solve_names_layer_and_rho():
    gram = Gram(torch.tensor([[1.0, 2.0], [2.0, 1.0]]), "blocks.2.q_proj")
    with pytest.raises(SDSError, match=r"blocks\.2\.q_proj is not positive definite at rho 0\.5.*larger rho"):
        gram.ridge_solve(torch.ones(1, 2), 0.5)
    assert gram.ridge_solve(torch.ones(1, 2), 1.5).isfinite().all()


@pytest.mark.parametrize("columns", [STRIP - 1, STRIP, 2 * STRIP + 5])
def test_inputs_wider_than_a_strip_are_summed_whole(columns):
    inputs, teacher = correlated_inputs(columns, 30, 0).float(), correlated_inputs(columns, 30, 1).float()
    sums = GramAccumulator(columns, cross=True)
    sums.add(inputs.T, teacher.T)
    matrix = sums.gram("x").matrix
    assert torch.equal(matrix, matrix.T)
    torch.testing.assert_close(matrix, inputs @ inputs.T / 30)
    expected = (teacher.double() - inputs.double()) @ inputs.double().T / 30
    torch.testing.assert_close(sums.teacher_shift().double(), expected, rtol=1e-4, atol=1e-4)


def test_the_top_eigenvalue_has_a_margin():
    inputs = correlated_inputs(12, 90, common=2.0)
    exact = top_eigenvalue(jacobi(random_weight(1, 12), inputs)[2])
    assert gram_of(inputs).top_eigenvalue == pytest.approx(1.02 * exact, rel=1e-6)


@pytest.mark.parametrize("seed", range(8))
def test_steps_of_inverse_top_eigenvalue_are_stable(seed):
    inputs = correlated_inputs(24, 60, seed, common=0.0)
    exact = top_eigenvalue(jacobi(random_weight(1, 24), inputs)[2])
    assert exact * 0.9 < gram_of(inputs).top_eigenvalue <= exact * 1.0201


def test_the_inverse_factor_squares_to_the_damped_inverse():
    gram = gram_of(correlated_inputs(9, 40))
    damped = gram.matrix + 0.03 * gram.matrix.diagonal().mean() * torch.eye(9, dtype=torch.float64)
    factor = gram.inverse_factor(0.03)
    assert torch.equal(factor, factor.triu())
    torch.testing.assert_close(factor.T @ factor @ damped, torch.eye(9, dtype=torch.float64), rtol=0, atol=1e-9)


def test_each_damping_has_its_own_factor_computed_once():
    gram = gram_of(correlated_inputs(9, 40))
    assert gram.inverse_factor(0.01) is gram.inverse_factor(0.01)
    assert not torch.equal(gram.inverse_factor(0.01), gram.inverse_factor(0.1))


def test_a_float32_factor_is_computed_in_float64():
    inputs = correlated_inputs(30, 300)
    gram = gram_of(inputs.float())
    matrix = gram.matrix.double()
    damped = matrix + 1e-6 * matrix.diagonal().mean() * torch.eye(30, dtype=torch.float64)
    factor = gram.inverse_factor(1e-6)
    assert factor.dtype == torch.float32
    expected = torch.linalg.cholesky(torch.linalg.inv(damped), upper=True)
    assert float((factor.double() - expected).norm() / expected.norm()) < 1e-6


def test_dead_inputs_count_as_the_mean_of_the_others_in_inverse_factor():
    inputs = with_dead(correlated_inputs(5, 40), 2)
    gram = gram_of(inputs)
    repaired, mean = gram.matrix.clone(), gram.matrix.diagonal()[[0, 1, 3, 4]].mean()
    repaired[2, 2] = mean
    damped = repaired + 0.01 * mean * torch.eye(5, dtype=torch.float64)
    factor = gram.inverse_factor(0.01)
    torch.testing.assert_close(factor.T @ factor, torch.linalg.inv(damped), rtol=1e-8, atol=1e-12)
    assert gram.matrix[2, 2] == 0
    assert gram_of(torch.zeros(5, 40, dtype=torch.float64)).inverse_factor(0.01).isfinite().all()


@pytest.mark.parametrize("dead", [(), (1, 2, 7)])
def test_sparsegpt_does_not_depend_on_the_units_of_its_inputs(dead):
    weight, inputs = random_weight(6, 12, 3), with_dead(correlated_inputs(12, 60), *dead)
    once, small = (
        PRUNERS["sparsegpt"]().solve(LayerProblem.from_inputs(weight, inputs * unit), NM(2, 4)) for unit in (1, 1e-3)
    )
    assert torch.equal(once.mask, small.mask)
    torch.testing.assert_close(once.weight, small.weight, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_non_finite_matrix_names_the_layer(bad):
    matrix = torch.eye(3)
    matrix[1, 1] = bad
    with pytest.raises(SDSError, match=r"blocks\.2\.q_proj is not finite"):
        Gram(matrix, "blocks.2.q_proj")


def test_overflowing_activations_name_the_layer():
    sums = GramAccumulator(2)
    sums.add(torch.full((3, 2), 1e30))
    with pytest.raises(SDSError, match="layer 7"):
        sums.gram("layer 7")


def test_an_indefinite_matrix_names_layer_and_damping():
    gram = Gram(torch.tensor([[1.0, 2.0], [2.0, 1.0]]), "blocks.2.q_proj")
    with pytest.raises(SDSError, match=r"blocks\.2\.q_proj is not positive definite at damping 0\.01"):
        gram.inverse_factor(0.01)
    assert gram.inverse_factor(1.5).isfinite().all()


@pytest.mark.parametrize("outputs", [5, 100])
def test_solving_by_an_inverse_that_is_kept_for_others_is_the_same_solve(outputs):
    inputs = correlated_inputs(8, 60)
    gram = Gram(inputs @ inputs.T / 60, outputs=outputs)
    rhs = random_weight(5, 8, seed=2)
    ridged = gram.scaled + 0.3 * torch.eye(8, dtype=torch.float64)
    torch.testing.assert_close(gram.ridge_solve(rhs, 0.3) @ ridged, rhs)
    assert len(gram._inverses) == (outputs > 5)


def test_inverses_are_prepared_side_by_side_as_far_as_there_are_lanes(monkeypatch):
    inputs = correlated_inputs(8, 60)
    gram, alone = (Gram(inputs @ inputs.T / 60, outputs=5) for _ in range(2))
    rhs, ridges = random_weight(5, 8, seed=2), [0.1, 0.2, 0.3]
    gram.prepare(ridges)
    assert not gram._inverses
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    with monkeypatch.context() as patched:
        patched.setattr(gram_module, "INVERSES", 2 * gram.matrix.nbytes - 1)
        gram.prepare(ridges)
        assert not gram._inverses, "they would not fit"
    for place, ridge in enumerate(ridges):
        gram.prepare(ridges[place:])
        assert list(gram._inverses) == [[0.1, 0.2], [0.2], []][place]
        torch.testing.assert_close(gram.ridge_solve(rhs, ridge), alone.ridge_solve(rhs, ridge))
    assert not gram._inverses
