import pytest
import torch

from sds_core.pruning.layer_problem import Pruned
from sds_core.pruning.stages import Stages

WEIGHT = torch.ones(2, 4)
PRUNED = Pruned(WEIGHT * 2, WEIGHT.bool())
FINAL = Pruned(WEIGHT * 3, WEIGHT.bool())


def test_stages_iterate_oldest_first_with_their_masks():
    found = list(Stages(final=FINAL, redense=WEIGHT, sparse=PRUNED))
    assert [name for name, _, _ in found] == ["sparse", "redense", "final"]
    assert [weight for _, weight, _ in found] == [PRUNED.weight, WEIGHT, FINAL.weight]
    assert [mask for _, _, mask in found] == [PRUNED.mask, None, FINAL.mask]


@pytest.mark.parametrize(
    ("stages", "newest"),
    [
        (Stages(PRUNED), "sparse"),
        (Stages(PRUNED, WEIGHT), "redense"),
        (Stages(PRUNED, WEIGHT, FINAL), "final"),
        (Stages(PRUNED, final=FINAL), "final"),
    ],
)
def test_the_newest_stage_is_the_last(stages, newest):
    assert stages.newest.stage == newest


def test_no_stages_iterate_to_nothing():
    assert list(Stages()) == []
