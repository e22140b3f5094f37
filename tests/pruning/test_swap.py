from itertools import product

import pytest
import torch

from sds_core.pruning.layer_problem import LayerProblem
from sds_core.pruning.magnitude import Magnitude
from sds_core.pruning.pattern import NM, Unstructured
from sds_core.pruning.swap import refine_mask
from sds_core.pruning.wanda import Wanda
from tests.pruning.references import correlated_inputs, exact_counts, random_weight

COLUMNS = 12
PATTERNS = pytest.mark.parametrize("pattern", [NM(2, 4), NM(1, 3), Unstructured("0.5")], ids=str)


def make(seed=0, rows=5, columns=COLUMNS, taught=False, dtype=torch.float64):
    inputs = correlated_inputs(columns, 200, seed).to(dtype)
    weight = random_weight(rows, columns, seed + 1).to(dtype)
    problem = LayerProblem.from_inputs(weight, inputs)
    shift = 0.1 * random_weight(rows, columns, seed + 2).to(dtype) @ problem.gram.matrix if taught else None
    return LayerProblem(weight, problem.gram, shift)


def row_error(problem, row, mask):
    """f of one row up to a constant, straight from its definition."""
    change = problem.weight[row] * mask - problem.weight[row]
    shift = 0 if problem.shift is None else 2 * change @ problem.shift[row]
    return float(change @ problem.gram.matrix @ change - shift)


def swapped(mask, pattern):
    """Every mask that is one swap away."""
    for out, back in product(mask.nonzero().flatten().tolist(), (~mask).nonzero().flatten().tolist()):
        if isinstance(pattern, NM) and out // pattern.group != back // pattern.group:
            continue
        other = mask.clone()
        other[out], other[back] = False, True
        yield other


@PATTERNS
@pytest.mark.parametrize("taught", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_one_swap_is_the_best_of_its_row(pattern, taught, seed):
    problem = make(seed, taught=taught)
    start = Magnitude().solve(problem, pattern) if isinstance(pattern, NM) else Wanda().solve(problem, pattern)
    found = refine_mask(problem, start.mask, pattern, swaps=1).mask
    for row, mask in enumerate(start.mask):
        best = min([mask, *swapped(mask, pattern)], key=lambda other: row_error(problem, row, other))
        assert torch.equal(found[row], best)


@PATTERNS
def test_it_ends_where_no_swap_helps(pattern):
    problem = make()
    found = refine_mask(problem, Wanda().solve(problem, pattern).mask, pattern, swaps=100).mask
    for row, mask in enumerate(found):
        least = min(row_error(problem, row, other) for other in swapped(mask, pattern))
        assert row_error(problem, row, mask) <= least + 1e-12


@pytest.mark.parametrize(("text", "pattern"), [("2:4", NM(2, 4)), ("0.6", Unstructured("0.6"))])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_swaps_lower_the_error_within_the_pattern(text, pattern, dtype):
    problem = make(rows=16, columns=64, dtype=dtype)
    start = Wanda().solve(problem, pattern)
    before = start.mask.clone()
    losses = [
        problem.loss(refine_mask(problem, start.mask, pattern, swaps=swaps).weight) for swaps in (0, 1, 2, 5, 10, 50)
    ]
    assert losses[0] == pytest.approx(problem.loss(start.weight)) and losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.95 * losses[0]
    found = refine_mask(problem, start.mask, pattern, swaps=50)
    assert exact_counts(found.mask, text) and torch.equal(found.weight, problem.weight * found.mask)
    assert torch.equal(start.mask, before)


def test_full_and_empty_rows_are_left_alone():
    problem = make()
    for mask in (torch.ones(5, COLUMNS, dtype=torch.bool), torch.zeros(5, COLUMNS, dtype=torch.bool)):
        assert torch.equal(refine_mask(problem, mask, Unstructured("0"), swaps=3).mask, mask)


def test_dead_inputs_do_no_harm():
    inputs = correlated_inputs(COLUMNS, 200).float()
    inputs[3] = 0
    problem = LayerProblem.from_inputs(random_weight(5, COLUMNS).float(), inputs)
    start = Wanda().solve(problem, NM(2, 4))
    assert problem.loss(refine_mask(problem, start.mask, NM(2, 4), swaps=20).weight) < problem.loss(start.weight)
