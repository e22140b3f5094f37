"""The built-in pruners: conformance, then the formulas of their papers."""

from fractions import Fraction

import pytest
import torch

from sds_core.errors import SDSError
from sds_core.pruning.conformance import failures
from sds_core.pruning.layer_problem import LayerProblem
from sds_core.pruning.magnitude import Magnitude
from sds_core.pruning.pattern import NM, Unstructured, parse_pattern
from sds_core.pruning.registry import PRUNERS
from sds_core.pruning.sparsegpt import SparseGPT, column_steps
from sds_core.pruning.wanda import Wanda
from tests.pruning.references import (
    correlated_inputs,
    random_weight,
    select_groups,
    select_layer,
    select_rows,
    sparsegpt,
)

PATTERNS = ["2:4", "1:4", "4:8", "0.5", "0.29", "0"]
KEEP_VALUES = ["magnitude", "wanda"]
every_pattern = pytest.mark.parametrize("text", PATTERNS)


def make_problem(rows=6, columns=40, tokens=90, seed=0, dtype=torch.float64, dead=()):
    inputs = correlated_inputs(columns, tokens, seed)
    inputs[list(dead)] = 0
    return LayerProblem.from_inputs(random_weight(rows, columns, seed + 1).to(dtype), inputs.to(dtype))


@pytest.mark.parametrize("name", PRUNERS)
def test_every_pruner_conforms(name):
    assert failures(PRUNERS[name]()) == []


@pytest.mark.parametrize("name", PRUNERS)
def test_kept_weights_on_dead_inputs_do_not_change(name):
    dead = list(range(4, 40))
    problem = make_problem(dead=dead)
    pruned = PRUNERS[name]().solve(problem, NM(2, 4))
    assert int((pruned.weight != 0).sum()) == int(pruned.mask.sum()) == 120
    assert torch.equal(pruned.weight[:, dead], (problem.weight * pruned.mask)[:, dead])


@pytest.mark.parametrize("name", [name for name in PRUNERS if name != "magnitude"])
def test_all_but_magnitude_look_at_inputs(name):
    masks = [PRUNERS[name]().solve(make_problem(dead=dead), NM(2, 4)).mask for dead in ([], range(0, 40, 2))]
    assert not torch.equal(*masks)


@pytest.mark.parametrize("name", KEEP_VALUES)
@every_pattern
def test_kept_weights_do_not_change(name, text):
    problem = make_problem()
    pruned = PRUNERS[name]().solve(problem, parse_pattern(text))
    assert torch.equal(pruned.weight[pruned.mask], problem.weight[pruned.mask])


SELECT = {"layer": select_layer("0.5"), "rows": select_rows("0.5"), "2:4": select_groups(2, 4)}


def test_magnitude_compares_weights_over_the_layer():
    problem = make_problem()
    assert torch.equal(Magnitude().solve(problem, Unstructured("0.5")).mask, SELECT["layer"](problem.weight.abs()))
    assert torch.equal(Magnitude().solve(problem, NM(2, 4)).mask, SELECT["2:4"](problem.weight.abs()))


def test_wanda_compares_weight_times_norm_in_each_row():
    inputs = correlated_inputs(40, 90)
    weight = random_weight(6, 40)
    problem = LayerProblem.from_inputs(weight, inputs)
    scores = weight.abs() * inputs.norm(dim=1)
    assert torch.equal(Wanda().solve(problem, Unstructured("0.5")).mask, SELECT["rows"](scores))
    assert torch.equal(Wanda().solve(problem, NM(2, 4)).mask, SELECT["2:4"](scores))


def test_wanda_ignores_correlations():
    problem = make_problem()
    for alpha in (0.2, 1.0):
        mask = Wanda().solve(problem.shrunk(alpha), NM(2, 4)).mask
        assert torch.equal(mask, Wanda().solve(problem, NM(2, 4)).mask)


@pytest.mark.parametrize(
    ("columns", "block", "text"),
    [
        (160, 128, "2:4"),
        (160, 128, "4:8"),
        (160, 128, "0.5"),
        (144, 128, "0.29"),
        (40, 16, "2:4"),
        (40, 16, "0.5"),
        (40, 1, "0.5"),
        (40, 7, "0.5"),
        (40, 10, "4:8"),
        (40, 4, "4:8"),
        (40, 1000, "0.5"),
    ],
)
def test_blocked_sweep_equals_slow_reference(columns, block, text):
    inputs, weight = correlated_inputs(columns, 300), random_weight(6, columns)
    inputs[5] = 0
    pruned = SparseGPT(block=block).solve(LayerProblem.from_inputs(weight, inputs), parse_pattern(text))
    select, together = (
        (select_groups(*map(int, text.split(":"))), int(text.split(":")[1]))
        if ":" in text
        else (select_layer(text), block)
    )
    expected_weight, expected_mask = sparsegpt(weight, inputs @ inputs.T / 300, select, together, damping=0.01)
    assert torch.equal(pruned.mask, expected_mask)
    torch.testing.assert_close(pruned.weight, expected_weight, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("damping", [0.001, 1.0])
def test_damping_scales_with_the_mean_diagonal(damping):
    inputs, weight = 30 * correlated_inputs(24, 100), random_weight(4, 24)
    pruned = SparseGPT(damping=damping).solve(LayerProblem.from_inputs(weight, inputs), NM(2, 4))
    expected, mask = sparsegpt(weight, inputs @ inputs.T / 100, select_groups(2, 4), 4, damping)
    assert torch.equal(pruned.mask, mask)
    torch.testing.assert_close(pruned.weight, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("ratio", ["0.5", "0.29"])
def test_sparsegpt_is_exact_in_every_column_block(ratio):
    mask = SparseGPT().solve(make_problem(rows=3, columns=150, tokens=300), Unstructured(ratio)).mask
    for part in mask.split(128, dim=1):
        assert int((~part).sum()) == int(Fraction(ratio) * part.numel())


@pytest.mark.parametrize("seed", range(5))
def test_sparsegpt_beats_wanda_on_correlated_inputs(seed):
    problem = make_problem(rows=16, columns=64, tokens=300, seed=seed)
    sparsegpt_loss, wanda_loss = (
        problem.loss(pruner.solve(problem, NM(2, 4)).weight) for pruner in (SparseGPT(), Wanda())
    )
    assert sparsegpt_loss < 0.8 * wanda_loss


def test_sparsegpt_loss_is_equal_in_float32_and_float64():
    double, single = (make_problem(16, 64, 300, dtype=dtype) for dtype in (torch.float64, torch.float32))
    losses = [problem.loss(SparseGPT().solve(problem, NM(2, 4)).weight) for problem in (double, single)]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


@pytest.mark.parametrize("options", [{"damping": 0.0}, {"damping": -1.0}, {"block": 0}, {"damping": float("nan")}])
def test_sparsegpt_refuses_options_that_are_not_positive(options):
    with pytest.raises(SDSError, match="positive"):
        SparseGPT(**options)


def test_sparsegpt_names_layer_of_indefinite_gram_matrix():
    gram = torch.tensor([[1.0, 2.0], [2.0, 1.0]])
    with pytest.raises(SDSError, match="layer 7"):
        SparseGPT().solve(LayerProblem.from_gram(torch.ones(1, 2), gram, "layer 7"), NM(1, 2))


@pytest.mark.parametrize(("text", "together"), [("2:4", 4), ("0.5", 12)])
def test_each_sweep_step_is_optimal_brain_surgery(text, together):
    inputs, weight = correlated_inputs(12, 90), random_weight(5, 12)
    gram = inputs @ inputs.T / 90
    select = select_groups(2, 4) if ":" in text else select_layer(text)
    factor = LayerProblem.from_inputs(weight, inputs).gram.inverse_factor(0.01)
    damped = gram + 0.01 * gram.diagonal().mean() * torch.eye(12, dtype=gram.dtype)
    now, mask = weight.clone(), torch.zeros(5, 12, dtype=torch.bool)
    for j, step in enumerate(column_steps(weight, factor, parse_pattern(text))):
        left = torch.linalg.inv(damped[j:, j:])  # over the columns not yet pruned
        if j % together == 0:
            pivots = torch.stack([torch.linalg.inv(damped[k:, k:])[0, 0] for k in range(j, j + together)])
            costs = now[:, j : j + together].square() / pivots
            mask[:, j : j + together] = select(costs)
            torch.testing.assert_close(step.scores, costs, rtol=1e-6, atol=1e-9)
        removed = torch.where(mask[:, j], 0, now[:, j])
        now[:, j:] -= removed[:, None] * left[0] / left[0, 0]
        now[~mask[:, j], j] = 0
        assert step.index == j and torch.equal(step.mask, mask)
        torch.testing.assert_close(step.weight, now, rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(step.lost[:, j], removed / left[0, 0].sqrt(), rtol=1e-6, atol=1e-9)
        assert not step.lost[:, j + 1 :].any()
    assert j == 11


def test_sweep_does_not_modify_its_input():
    problem = make_problem()
    before = problem.weight.clone()
    assert len(list(column_steps(problem.weight, problem.gram.inverse_factor(0.01), NM(2, 4)))) == 40
    assert torch.equal(problem.weight, before)
