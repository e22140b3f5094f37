import dataclasses

import pytest
import torch

from sds_core.errors import SDSError
from sds_core.pruning.layer_problem import LayerProblem, Pruned
from sds_core.pruning.methods import (
    METHODS,
    SDS,
    Adjusted,
    Base,
    SDSAdmm,
    StraightThrough,
    Swaps,
    make_method,
    matched_options,
)
from sds_core.pruning.owl import OUTLIER, REACH
from sds_core.pruning.pattern import NM, parse_pattern
from sds_core.pruning.reconstruction import Distillation
from sds_core.pruning.redense import admm_rounds, gradient_rounds
from sds_core.pruning.registry import PRUNERS
from sds_core.pruning.wanda import Wanda
from tests.pruning.references import correlated_inputs, exact_counts, random_weight, solve_on_support


def make_problem(seed=0, rows=24, columns=32, dtype=torch.float64):
    inputs = correlated_inputs(columns, 200, seed, common=0.5)
    return LayerProblem.from_inputs(random_weight(rows, columns, seed + 1).to(dtype), inputs.to(dtype))


def phases(method, pruner, problem, pattern):
    """What each phase makes of a layer: sparse, rounds, chosen, final."""
    sparse = pruner.solve(problem, pattern)
    fit = problem.shrunk(method.alpha)
    rounds = list(method.redense(fit, sparse, pattern)) if method.redenses else []
    if not method.finishes:
        return sparse, rounds, "", sparse
    return sparse, rounds, *method.finish(fit, sparse, rounds[-1].dense if rounds else None, pruner, pattern)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("pruner", PRUNERS)
@pytest.mark.parametrize("text", ["2:4", "0.5"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_final_weight_obeys_the_pattern(name, pruner, text, dtype):
    problem = make_problem(dtype=dtype)
    _, rounds, _, final = phases(make_method(name, {}), PRUNERS[pruner](), problem, parse_pattern(text))
    assert exact_counts(final.mask, text) and (final.weight[~final.mask] == 0).all()
    assert final.weight.shape == problem.weight.shape and final.weight.dtype == dtype
    assert final.weight.isfinite().all()
    assert all(round.dense.dtype == dtype and round.dense.isfinite().all() for round in rounds)


@pytest.mark.parametrize("pruner", PRUNERS)
@pytest.mark.parametrize("text", ["2:4", "0.5"])
def test_admm_beats_adjustment_beats_the_base_pruner(pruner, text):
    problem = make_problem().shrunk(0.2)
    losses = [
        problem.loss(phases(method, PRUNERS[pruner](), problem, parse_pattern(text))[3].weight)
        for method in (SDSAdmm(alpha=0), Adjusted(alpha=0), Base())
    ]
    assert losses[0] < 0.97 * losses[1] and losses[1] < 0.97 * losses[2]


@pytest.mark.parametrize("pruner", PRUNERS)
@pytest.mark.parametrize("seed", range(3))
def test_sds_beats_its_base_pruner(pruner, seed):
    problem = make_problem(seed).shrunk(0.2)
    sparse, _, _, final = phases(SDS(alpha=0), PRUNERS[pruner](), problem, NM(2, 4))
    assert problem.loss(final.weight) < problem.loss(sparse.weight)


def test_adjustment_solves_the_kept_weights_exactly():
    problem = make_problem()
    sparse, _, chosen, final = phases(Adjusted(alpha=0.2), Wanda(), problem, NM(2, 4))
    gram = 0.8 * problem.gram.matrix + 0.2 * torch.diag(problem.gram.matrix.diagonal())
    exact = solve_on_support(gram, problem.weight @ gram, sparse.mask)
    fit = problem.shrunk(0.2)
    assert chosen == "adjusted" and torch.equal(final.mask, sparse.mask)
    assert fit.loss(final.weight) == pytest.approx(fit.loss(exact), rel=1e-4)


def test_sds_redenses_by_gradient_rounds():
    problem = make_problem()
    sparse = Wanda().solve(problem, NM(2, 4))
    options = {"iterations": 7, "learning_rate": 0.5, "l1": 0.3, "l2": 0.2}
    found = list(SDS(**options).redense(problem, sparse, NM(2, 4)))
    expected = list(gradient_rounds(problem, sparse.weight, NM(2, 4), **options))
    assert [round.number for round in found] == [1, 2, 3, 4, 5, 6, 7]
    assert all(torch.equal(a.dense, b.dense) for a, b in zip(found, expected, strict=True))


def test_sds_admm_redenses_by_admm_rounds():
    problem = make_problem()
    sparse = Wanda().solve(problem, NM(2, 4))
    options = {"rounds": 4, "rho": 0.4, "rho_growth": 2.0}
    found = list(SDSAdmm(**options).redense(problem, sparse, NM(2, 4)))
    expected = list(admm_rounds(problem, sparse.weight, NM(2, 4), **options))
    assert [round.number for round in found] == [1, 2, 3, 4]
    assert all(torch.equal(a.dense, b.dense) for a, b in zip(found, expected, strict=True))


def test_admm_falls_back_on_a_better_first_prune():
    problem = make_problem()
    sparse = Wanda().solve(problem, NM(2, 4))
    nonsense = random_weight(24, 32, seed=99)
    chosen, final = SDSAdmm().finish(problem, sparse, nonsense, Wanda(), NM(2, 4))
    assert chosen == "first prune" and torch.equal(final.mask, sparse.mask)
    dense = list(SDSAdmm().redense(problem, sparse, NM(2, 4)))[-1].dense
    chosen, better_final = SDSAdmm().finish(problem, sparse, dense, Wanda(), NM(2, 4))
    assert chosen == "second prune" and not torch.equal(better_final.mask, sparse.mask)
    assert problem.loss(better_final.weight) < problem.loss(final.weight)


def test_sds_names_the_candidate_that_won():
    problem = make_problem().shrunk(0.2)
    _, rounds, chosen, final = phases(SDS(alpha=0), Wanda(), problem, NM(2, 4))
    second = Wanda().solve(LayerProblem(rounds[-1].dense, problem.gram), NM(2, 4))
    assert chosen == "adjusted" and problem.loss(final.weight) < problem.loss(second.weight)


def test_sds_without_steps_solves_the_second_prune():
    problem = make_problem().shrunk(0.2)
    sparse, rounds, chosen, final = phases(SDS(alpha=0, adjust_iterations=0, l1=0.3), Wanda(), problem, NM(2, 4))
    second = Wanda().solve(LayerProblem(rounds[-1].dense, problem.gram), NM(2, 4))
    exact = solve_on_support(problem.gram.matrix, problem.weight @ problem.gram.matrix, second.mask)
    assert (second.mask & ~sparse.mask).sum() > 20
    assert chosen == "adjusted" and torch.equal(final.mask, second.mask)
    assert problem.loss(final.weight) == pytest.approx(problem.loss(exact), rel=1e-3)
    assert problem.loss(final.weight) < problem.loss(second.weight)


@pytest.mark.parametrize("seed", range(3))
def test_straight_through_moves_the_mask_and_beats_adjustment(seed):
    problem = make_problem(seed).shrunk(0.2)
    sparse, _, _, moved = phases(StraightThrough(alpha=0), Wanda(), problem, NM(2, 4))
    adjusted = phases(Adjusted(alpha=0), Wanda(), problem, NM(2, 4))[3]
    assert (moved.mask & ~sparse.mask).any()
    assert problem.loss(moved.weight) < problem.loss(adjusted.weight)


def test_swaps_move_the_mask_and_leave_the_weights():
    problem = make_problem().shrunk(0.2)
    sparse, _, _, swapped = phases(Swaps(alpha=0), Wanda(), problem, NM(2, 4))
    assert torch.equal(swapped.weight, problem.weight * swapped.mask)
    assert (swapped.mask & ~sparse.mask).any() and problem.loss(swapped.weight) < problem.loss(sparse.weight)


def test_the_second_prune_is_the_base_pruners():
    class Last:
        """Keeps the last half of each row."""

        def solve(self, problem, pattern):
            mask = torch.arange(problem.weight.shape[1]).expand(problem.weight.shape) >= problem.weight.shape[1] // 2
            return Pruned(problem.weight * mask, mask)

    problem = make_problem()
    sparse = Pruned(torch.zeros_like(problem.weight), torch.zeros_like(problem.weight, dtype=torch.bool))
    chosen, final = SDSAdmm().finish(problem, sparse, problem.weight, Last(), NM(2, 4))
    assert chosen == "second prune" and torch.equal(final.mask, Last().solve(problem, NM(2, 4)).mask)


def test_options_reach_the_method_others_keep_defaults():
    assert make_method("sds", {}) == SDS()
    assert make_method("sds-admm", {"rounds": 25, "rho_growth": 1.15}) == SDSAdmm(rounds=25, rho_growth=1.15)
    assert make_method("adjusted", {"beta": 0.3}) == Adjusted(alpha=0.2, beta=0.3)
    assert make_method("base", {}) == Base()


def test_a_choice_is_yes_or_no():
    assert make_method("adjusted", {"sequential": True}).sequential
    with pytest.raises(SDSError, match="option sequential is yes or no: got '1'"):
        make_method("adjusted", {"sequential": 1})


def test_the_defaults_are_the_recipe():
    assert dataclasses.asdict(SDSAdmm()) == {
        "rounds": 12,
        "rho": 0.1,
        "rho_growth": 1.3,
        "alpha": 0.2,
        "beta": 0.2,
        "sequential": True,
    }
    assert dataclasses.asdict(Adjusted()) == {"alpha": 0.2, "beta": 0.0, "sequential": False}
    assert dataclasses.asdict(SDS()) == {
        "iterations": 20,
        "learning_rate": 1.0,
        "l1": 0.01,
        "l2": 0.001,
        "adjust_iterations": 20,
        "alpha": 0.2,
        "beta": 0.0,
    }
    steps = {"adjust_iterations": 45, "learning_rate": 1.0}
    assert dataclasses.asdict(StraightThrough()) == steps | {"alpha": 0.2, "beta": 0.0}
    assert dataclasses.asdict(Swaps()) == {"swaps": 100, "alpha": 0.2, "beta": 0.0}
    assert (Base().alpha, Base().beta) == (0.0, 0.0)
    assert dataclasses.asdict(Distillation()) == {"epochs": 1, "windows": 0, "rate": 0.001}
    assert (OUTLIER, REACH) == (5.0, 0.08)


def test_an_unknown_method_is_refused():
    with pytest.raises(SDSError, match="base, adjusted, straight-through, swaps, sds, sds-admm"):
        make_method("sdss", {})


def test_an_unknown_option_is_refused():
    with pytest.raises(SDSError, match=r"sds-admm has no option round; allowed: rounds, rho, rho_growth"):
        make_method("sds-admm", {"round": 3})


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("base", "alpha"),
        ("base", "title"),
        ("sds", "title"),
        ("sds", "redenses"),
        ("sds", "sequential"),
        ("swaps", "sequential"),
    ],
)
def test_options_a_method_does_not_take_are_refused(name, option):
    with pytest.raises(SDSError, match="has no option") as caught:
        make_method(name, {option: 0})
    assert "title" not in caught.value.allowed


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("adjusted", "alpha", 1.1),
        ("adjusted", "beta", -0.1),
        ("sds", "learning_rate", 0),
        ("sds", "learning_rate", 1.5),
        ("sds", "iterations", 0),
        ("sds", "adjust_iterations", -1),
        ("sds", "l1", -1),
        ("sds", "l2", float("nan")),
        ("sds", "alpha", 2),
        ("sds", "beta", 2),
        ("sds-admm", "rounds", 0),
        ("sds-admm", "rho", 0),
        ("sds-admm", "rho_growth", 0.9),
        ("sds-admm", "alpha", -1),
        ("sds-admm", "beta", 1.01),
    ],
)
def test_a_value_out_of_range_names_the_option(name, option, value):
    with pytest.raises(SDSError, match=f"option {option.replace('_', '-')} out of range"):
        make_method(name, {option: value})


@pytest.mark.parametrize(
    ("name", "option"), [("sds", "iterations"), ("sds", "adjust_iterations"), ("sds-admm", "rounds")]
)
def test_a_count_must_be_whole(name, option):
    with pytest.raises(SDSError, match=f"option {option.replace('_', '-')} is a whole number: got '12.5'"):
        make_method(name, {option: 12.5})


def test_a_control_is_matched_in_every_shared_option():
    method = SDSAdmm(beta=0.3)
    assert matched_options(method) == {"alpha": 0.2, "beta": 0.3, "sequential": True}
    assert matched_options(make_method("adjusted", matched_options(method))) == matched_options(method)
    assert matched_options(Base()) == {"alpha": 0.0, "beta": 0.0, "sequential": False}
