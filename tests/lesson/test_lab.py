"""The Layer lab: the rounds of the dense phase on one layer."""

import pytest

from sds_core.lesson import lab
from sds_core.lesson.lab_layer import LabLayer, read_lab_layer
from sds_core.pruning.bins import BIN
from sds_core.pruning.layer_problem import LayerProblem
from sds_core.pruning.methods import SDSAdmm
from sds_core.pruning.pattern import NM, Unstructured
from sds_core.pruning.registry import PRUNERS
from tests.pruning.references import correlated_inputs, random_weight, select_groups, solve_on_support

ALPHA = 0.2


@pytest.fixture(scope="module")
def small() -> LabLayer:
    """A layer of 12 × 16 with correlated inputs, observed on 60 tokens and on 4,000."""
    inputs, weight = correlated_inputs(16, 4060), random_weight(12, 16)
    parts = inputs[:, :60], inputs[:, 60:]
    seen, other = (LayerProblem.from_inputs(weight, part) for part in parts)
    return LabLayer(seen, other, {"layer": "small"})


def rounds(layer, dual, pruner="wanda", pattern=None, **options):
    method = SDSAdmm(**{"rounds": 12, "alpha": ALPHA, **options})
    return lab.rounds(layer, PRUNERS[pruner](), pattern or NM(2, 4), method, dual)


def error(change, gram, weight) -> float:
    """‖change·X‖² / ‖W·X‖²."""
    return float((change @ gram @ change.T).trace() / (weight @ gram @ weight.T).trace())


def test_every_round_is_there_with_curves_of_all_weights(small):
    found = rounds(small, dual=True, rounds=3)
    assert [one.number for one in found.rounds] == [1, 2, 3]
    states = [found.first, found.solved, *(one.pruned for one in found.rounds)]
    assert [one.zeros for one in states] == [0.5] * len(states) and found.dense.zeros == 0
    assert [one.changed is None for one in (found.dense, found.rounds[0].redense, found.first)] == [True, True, False]
    assert sum(found.dense.curve) * BIN == pytest.approx(1, abs=0.02)


def test_errors_and_masks_of_the_first_prune(small):
    found = rounds(small, dual=False)
    weight, grams = small.seen.weight, (small.seen.gram.matrix, small.held_out.gram.matrix)
    mask = select_groups(2, 4)(weight.abs() * grams[0].diagonal().sqrt())
    for text, gram in zip(("seen", "held_out"), grams, strict=True):
        assert getattr(found.first, text) == pytest.approx(error(weight * mask - weight, gram, weight))
    shrunk = (1 - ALPHA) * grams[0] + ALPHA * grams[0].diagonal().diag()
    solved = solve_on_support(shrunk, weight @ shrunk, mask)
    for text, gram in zip(("seen", "held_out"), grams, strict=True):
        assert getattr(found.solved, text) == pytest.approx(error(solved - weight, gram, weight), rel=1e-2)
    assert found.dense.seen == found.dense.held_out == found.first.changed == 0


@pytest.mark.parametrize("pruner", ["magnitude", "wanda", "sparsegpt"])
@pytest.mark.parametrize("pattern", [NM(2, 4), Unstructured("0.5")], ids=str)
def test_only_the_dual_moves_the_mask(small, pruner, pattern):
    on, off = (rounds(small, dual, pruner, pattern).rounds[-1].pruned for dual in (True, False))
    assert off.changed < 0.03 < on.changed and on.seen < off.seen


def test_without_the_dual_weights_return_to_dense_size(small):
    found = rounds(small, dual=False).rounds
    assert 0.3 < found[0].returned < found[-1].returned == pytest.approx(1, abs=0.02)
    assert found[-1].redense.seen < 1e-4


def test_the_shipped_layer_shows_what_the_page_says():
    layer = read_lab_layer()
    on, off = (rounds(layer, dual) for dual in (True, False))
    assert off.rounds[-1].pruned.changed < 0.001 < 0.05 < on.rounds[-1].pruned.changed
    last = on.rounds[-1].pruned
    assert last.held_out < on.solved.held_out < on.first.held_out
    assert last.seen < 0.8 * last.held_out  # it overfits, visibly
