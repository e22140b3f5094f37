"""Every method, its record included, gives on the stand-in what it gives on the CPU, with few copies and waits."""

from typing import Any

import pytest
import torch

from sds_core.models.device import pick_device
from tests.standin import runs
from tests.standin.device import Standin

CASES: list[tuple[str, str, str, dict[str, Any]]] = [
    ("base", "magnitude", "50%", {}),
    ("base", "wanda", "2:4", {}),
    ("base", "sparsegpt", "2:4", {}),
    ("adjusted", "wanda", "50%", {}),
    ("straight-through", "wanda", "50%", {"adjust_iterations": 3}),
    ("swaps", "wanda", "2:4", {"swaps": 3}),
    ("swaps", "wanda", "50%", {"swaps": 2}),
    ("sds", "wanda", "2:4", {"iterations": 4, "adjust_iterations": 5}),
    ("sds-admm", "wanda", "2:4", {"rounds": 4}),
    ("sds-admm", "wanda", "50%", {"rounds": 2, "sequential": False, "beta": 0.0}),
]


def same(one: float, other: float) -> bool:
    """Whether two recorded numbers agree, as far as sums in another order allow."""
    return one == pytest.approx(other, rel=1e-3, abs=1e-5, nan_ok=True)


@pytest.mark.parametrize(("method", "pruner", "pattern", "options"), CASES)
def test_method_gives_the_cpus_weights_and_record(
    device: Standin, method: str, pruner: str, pattern: str, options: dict[str, Any]
) -> None:
    expected = runs.on_cpu(method, pruner, pattern, tuple(options.items()))
    device.reset()
    found = runs.prune(device.device, method, pruner, pattern, options)
    counts = device.counts()
    assert counts.to_host <= 2 * found.nbytes and counts.waits <= 20 * found.layers
    for name, weight in expected.weights.items():
        assert torch.allclose(found.weights[name], weight, rtol=0, atol=1e-4 * float(weight.abs().max())), name
        assert torch.equal(found.weights[name], weight) or pruner != "magnitude", name  # which adds nothing up
    assert [(row.name, row.stage, row.round) for row in found.rows] == [
        (row.name, row.stage, row.round) for row in expected.rows
    ]
    for mine, its in zip(found.rows, expected.rows, strict=True):
        assert all(
            same(getattr(mine, name), getattr(its, name)) for name in ("loss", "held_out", "prune_energy", "std")
        )
        assert mine.sparsity == pytest.approx(its.sparsity, abs=1e-3) and mine.crop == its.crop
        moved = sum(abs(one - other) for one, other in zip(mine.counts, its.counts, strict=True))
        assert moved <= 5e-3 * sum(its.counts)  # a weight beside an edge may fall to the other side of it
        assert moved == 0 or pruner != "magnitude"


@pytest.mark.gpu
@pytest.mark.skipif(pick_device().type == "cpu", reason="no GPU here")
@pytest.mark.parametrize(("method", "pruner", "pattern", "options"), CASES)
def test_method_on_the_gpu_agrees_with_the_cpu(method: str, pruner: str, pattern: str, options: dict[str, Any]) -> None:
    expected = runs.on_cpu(method, pruner, pattern, tuple(options.items()))
    found = runs.prune(pick_device(), method, pruner, pattern, options)
    for name, weight in expected.weights.items():  # products are summed in another order: near ties may fall otherwise
        assert ((found.weights[name] != 0) == (weight != 0)).double().mean() > 0.98, name
    for mine, its in zip(found.rows, expected.rows, strict=True):
        assert mine.loss == pytest.approx(its.loss, rel=2e-2, abs=1e-4)
