from types import SimpleNamespace

import pytest
import torch

from sds_core.layer_result import LayerResult
from sds_core.pruning.layer_problem import LayerProblem, Pruned
from sds_core.pruning.pattern import NM
from sds_core.pruning.redense import Round
from sds_core.pruning.stages import Stages

WEIGHT = torch.ones(2, 4)
SPARSE = Pruned(WEIGHT * 2, WEIGHT.bool())
FINAL = Pruned(WEIGHT * 3, WEIGHT.bool())
ROUND = Round(1, WEIGHT, lambda: SPARSE, lambda: 0.0)


def result(**stages: Stages) -> LayerResult:
    problem = LayerProblem.from_gram(WEIGHT, torch.eye(4))
    linear = SimpleNamespace(label="q_proj")
    return LayerResult(linear=linear, problem=problem, held_out=None, pattern=NM(2, 4), rounds=(ROUND,), **stages)


@pytest.mark.parametrize("given", ["stages", "prior"])
def test_sparse_comes_from_this_pass_or_an_earlier_one(given):
    assert result(**{given: Stages(SPARSE)}).sparse is SPARSE


def test_splitting_sets_the_final_stage_apart():
    whole = result(stages=Stages(SPARSE, WEIGHT, FINAL))
    early, late = whole.split_final()
    assert [stage for stage, _, _ in early.stages] == ["sparse", "redense"] and early.rounds == (ROUND,)
    assert [stage for stage, _, _ in late.stages] == ["final"] and late.rounds == ()
    assert late.sparse is early.sparse is SPARSE and late.final is FINAL


def test_splitting_drops_the_factorisations():
    whole = result(stages=Stages(SPARSE, final=FINAL))
    whole.problem.shrunk(0.2), whole.problem.gram.inverse_factor(0.01)
    for part in whole.split_final():
        assert part.problem.gram is not whole.problem.gram
        assert torch.equal(part.problem.gram.matrix, whole.problem.gram.matrix)
        assert not part.problem.gram._shrunk and not part.problem.gram._factors
