"""The Layer lab: the rounds of the dense phase on one layer."""

import pytest

from sds_core.lesson import lab
from sds_core.lesson.lab_layer import LabLayer, read_lab_layer
from sds_core.pruning.bins import BINS
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


def test_every_stage_and_round_has_a_row(small):
    found = rounds(small, dual=True, rounds=3)
    stages = list(zip(found["stage"], found["round"], strict=True))
    moving = [(stage, n) for n in (1, 2, 3) for stage in ("redense", "pruned")]
    assert stages == [("dense", 0), ("sparse", 0), ("adjusted", 0), *moving, ("final", 0)]
    counts = [sum(c) + b + a + z for c, b, a, z in found[["counts", "below", "above", "zeros"]].itertuples(index=False)]
    assert counts == [12 * 16] * len(found) and all(len(c) == BINS for c in found["counts"])


def test_errors_and_masks_of_the_first_prune(small):
    found = rounds(small, dual=False).set_index("stage")
    weight, grams = small.seen.weight, (small.seen.gram.matrix, small.held_out.gram.matrix)
    mask = select_groups(2, 4)(weight.abs() * grams[0].diagonal().sqrt())
    for column, gram in zip(("seen", "held_out"), grams, strict=True):
        assert found.loc["sparse", column] == pytest.approx(error(weight * mask - weight, gram, weight))
    shrunk = (1 - ALPHA) * grams[0] + ALPHA * grams[0].diagonal().diag()
    solved = solve_on_support(shrunk, weight @ shrunk, mask)
    for column, gram in zip(("seen", "held_out"), grams, strict=True):
        assert found.loc["adjusted", column] == pytest.approx(error(solved - weight, gram, weight), rel=1e-2)
    assert found.loc["dense", "seen"] == 0 and found.loc["sparse", "returned"] == 0
    assert found.loc["dense", "returned"] == 1


@pytest.mark.parametrize("pruner", ["magnitude", "wanda", "sparsegpt"])
@pytest.mark.parametrize("pattern", [NM(2, 4), Unstructured("0.5")], ids=str)
def test_only_the_dual_moves_the_mask(small, pruner, pattern):
    ends = {}
    for dual in (True, False):
        found = rounds(small, dual, pruner, pattern)
        ends[dual] = found[found["stage"] == "final"].iloc[0]
    assert ends[False]["changed"] < 0.03 < ends[True]["changed"]
    assert ends[True]["seen"] < ends[False]["seen"]


def test_without_the_dual_weights_return_to_dense_size(small):
    found = rounds(small, dual=False)
    moving = found[found["stage"] == "redense"]
    assert 0.3 < moving["returned"].iloc[0] < moving["returned"].iloc[-1]
    assert moving["returned"].iloc[-1] == pytest.approx(1, abs=0.02)
    assert moving["seen"].iloc[-1] < 1e-4


def test_the_shipped_layer_shows_what_the_page_says():
    layer = read_lab_layer()
    on, off = (rounds(layer, dual) for dual in (True, False))
    at = lambda found, stage: found[found["stage"] == stage].iloc[-1]
    assert at(off, "final")["changed"] < 0.001 and at(off, "final")["held_out"] == pytest.approx(
        at(off, "adjusted")["held_out"], rel=1e-3
    )
    assert at(on, "final")["changed"] > 0.05
    assert at(on, "final")["held_out"] < at(on, "adjusted")["held_out"] < at(on, "sparse")["held_out"]
    assert at(on, "final")["seen"] < 0.8 * at(on, "final")["held_out"]  # it overfits, visibly
