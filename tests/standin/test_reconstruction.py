"""Reconstruction on the stand-in, in a process of its own: torch counts devices when it first differentiates."""

from multiprocessing import get_context
from typing import Any

import pytest
import torch

from tests.standin import runs
from tests.standin.device import Counts, Standin, standin

CASES = (
    ("base", "wanda", "50%", {"window": "submodule"}),
    ("sds-admm", "wanda", "2:4", {"rounds": 2, "window": "block"}),
)


def both(cases: tuple[tuple[str, str, str, dict[str, Any]], ...]) -> list[tuple[runs.Done, runs.Done, Counts]]:
    """Prune on the CPU and on the stand-in."""
    torch.set_num_threads(1)
    place, found = standin(), []
    assert isinstance(place, Standin)
    for case in cases:
        expected = runs.prune(torch.device("cpu"), *case)
        place.reset()
        found.append((expected, runs.prune(place.device, *case), place.counts()))
    return found


def test_reconstruction_gives_the_cpus_weights(device: Standin) -> None:
    with get_context("spawn").Pool(1) as pool:
        results = pool.apply(both, (CASES,))
    for expected, found, counts in results:
        assert counts.to_host <= 3 * found.nbytes  # a layer is written twice: solved, and adjusted with the others
        assert counts.waits <= 25 * found.layers
        for name, weight in expected.weights.items():
            assert torch.allclose(found.weights[name], weight, rtol=0, atol=1e-3 * float(weight.abs().max())), name
        for mine, its in zip(found.rows, expected.rows, strict=True):
            assert mine.loss == pytest.approx(its.loss, rel=1e-2, abs=1e-5)
