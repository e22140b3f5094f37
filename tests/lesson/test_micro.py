"""The 8×8 example: what it promises to those who follow it by hand."""

import pytest
import torch

from sds_core.lesson import micro
from sds_core.pruning.methods import SDSAdmm
from sds_core.pruning.redense import admm_rounds
from sds_core.pruning.registry import PRUNERS
from tests.pruning.references import select_groups

SEEDS = [0, 1, 10, micro.SEEDS]
TWO_OF_FOUR = select_groups(2, 4)


@pytest.mark.parametrize("seed", SEEDS)
def test_an_example_can_be_followed_by_hand(seed):
    problem = micro.example(seed)
    norms = problem.gram.matrix.diagonal().sqrt()
    assert problem.weight.shape == (8, 8) and problem.gram.matrix.shape == (8, 8)
    torch.testing.assert_close(problem.weight, problem.weight.mul(100).round() / 100, rtol=0, atol=1e-12)
    torch.testing.assert_close(norms, norms.mul(10).round() / 10, rtol=0, atol=1e-9)
    assert norms.min() > 0.05 and torch.linalg.eigvalsh(problem.gram.matrix).min() > 0


def test_a_seed_is_an_example_and_another_seed_another():
    first, same, other = (micro.example(seed) for seed in (7, 7, 8))
    assert torch.equal(first.weight, same.weight) and torch.equal(first.gram.matrix, same.gram.matrix)
    assert not torch.equal(first.weight, other.weight)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_row_to_predict_tells_the_pruners_apart(seed):
    problem = micro.example(seed)
    norms = problem.gram.matrix.diagonal().sqrt()
    small, weak = TWO_OF_FOUR(problem.weight.abs()), TWO_OF_FOUR(problem.weight.abs() * norms)
    differ = (small != weak).sum(dim=1).tolist()
    assert micro.telling_row(problem) == differ.index(max(differ))


@pytest.mark.parametrize("name", PRUNERS)
@pytest.mark.parametrize("seed", SEEDS)
def test_the_highest_scores_are_what_the_pruner_keeps(name, seed):
    problem = micro.example(seed)
    scores = micro.scores(PRUNERS[name](), problem)
    assert scores.shape == (8, 8) and (scores >= 0).all()
    assert torch.equal(TWO_OF_FOUR(scores), PRUNERS[name]().solve(problem, micro.PATTERN).mask)


def test_scores_are_those_of_the_papers():
    problem = micro.example(3)
    norms = problem.gram.matrix.diagonal().sqrt()
    torch.testing.assert_close(micro.scores(PRUNERS["magnitude"](), problem), problem.weight.abs())
    torch.testing.assert_close(micro.scores(PRUNERS["wanda"](), problem), problem.weight.abs() * norms)


def test_pruner_without_scores_has_none():
    class Silent:
        def solve(self, problem, pattern): ...

    assert micro.scores(Silent(), micro.example(0)) is None


@pytest.mark.parametrize("seed", SEEDS)
def test_the_columns_end_where_sparsegpt_ends(seed):
    problem = micro.example(seed)
    steps = micro.columns(problem)
    pruned = PRUNERS["sparsegpt"]().solve(problem, micro.PATTERN)
    assert [step.index for step in steps] == list(range(8))
    assert torch.equal(steps[-1].weight, pruned.weight) and torch.equal(steps[-1].mask, pruned.mask)
    assert not torch.equal(steps[0].weight, steps[-1].weight)  # copies, not one tensor that lives on


def test_a_column_changes_nothing_to_its_left():
    problem = micro.example(4)
    steps = micro.columns(problem)
    for j in range(1, 8):
        assert torch.equal(steps[j].weight[:, :j], steps[j - 1].weight[:, :j])


@pytest.mark.parametrize("seed", SEEDS)
def test_a_round_keeps_the_largest_weight_plus_dual(seed):
    problem, method = micro.example(seed), SDSAdmm(rounds=8)
    first = PRUNERS["wanda"]().solve(problem, micro.PATTERN)
    norms = problem.gram.matrix.diagonal().sqrt()
    found = list(micro.rounds(problem, first, method))
    assert len(found) == 8 and not found[0].dual.any()
    for one in found:
        wanted = one.accumulated
        assert torch.equal(TWO_OF_FOUR((wanted * norms).abs()), one.round.sparse.mask)
        torch.testing.assert_close(wanted * one.round.sparse.mask, one.round.sparse.weight)


def test_the_rounds_are_those_of_the_method():
    problem, method = micro.example(2), SDSAdmm(rounds=3, alpha=0.1)
    first = PRUNERS["wanda"]().solve(problem, micro.PATTERN)
    fit = problem.shrunk(0.1)
    expected = admm_rounds(fit, first.weight, micro.PATTERN, rounds=3, rho=0.1, rho_growth=1.3)
    for one, other in zip(micro.rounds(problem, first, method), expected, strict=True):
        assert torch.equal(one.round.dense, other.dense)
