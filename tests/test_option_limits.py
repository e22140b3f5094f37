"""Every numeric option at both of its limits: finite weights."""

from functools import cache

import pytest
import torch

from sds_core.layer_result import LayerResult
from sds_core.options import options_of
from sds_core.pruning.methods import METHODS
from sds_core.pruning.registry import PRUNERS
from tests.models.families import build
from tests.passes import make_recipe, run, weights

QUICK = {"iterations": 3, "adjust_iterations": 3, "rounds": 3, "swaps": 3}
"""Options that only take time, where another one is at its limit."""
AT_LIMITS = [
    (method, pruner, name, limit)
    for method, cls in METHODS.items()
    for name, one in options_of(cls).items()
    if one.low is not None
    for limit in (one.low, one.high)
    if not (name in QUICK and limit == one.high)  # only time
    for pruner in (("wanda", "sparsegpt") if name in ("alpha", "rho") else ("wanda",))
    if method != "checkpoint"
]


@cache
def model():
    return build("llama")


@pytest.mark.parametrize(("method", "pruner", "name", "limit"), AT_LIMITS)
def test_options_at_their_limits_give_finite_weights(method, pruner, name, limit):
    dense = weights(model())
    kind = type(options_of(METHODS[method])[name].default)
    quick = {key: value for key, value in QUICK.items() if key in options_of(METHODS[method])}
    recipe = make_recipe(METHODS[method](**quick | {name: kind(limit)}), pruner=PRUNERS[pruner])
    try:
        solved = [event for event in run("fused", model(), recipe) if isinstance(event, LayerResult)]
    finally:
        model().load_state_dict(dense)
    assert len(solved) == 21
    assert all(torch.isfinite(done.weight).all() for event in solved for done in event.stages)
