"""Devices are named, not guessed; the fast matrix product is used only where it is accurate."""

import sys
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sds_core.errors import SDSError
from sds_core.models.device import (
    allow_fast_matmul,
    available_memory,
    device_name,
    forget_peak_memory,
    peak_memory,
    pick_device,
)


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch):
    """Pretend that there are so many GPUs."""
    return lambda count: monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


@pytest.mark.parametrize(
    ("count", "name", "device"),
    [
        (0, "auto", "cpu"),
        (0, "cpu", "cpu"),
        (2, "auto", "cuda:0"),
        (2, "cpu", "cpu"),
        (2, "cuda", "cuda:0"),
        (2, "cuda:1", "cuda:1"),
    ],
)
def test_a_device_is_picked_among_those_that_exist(gpus, count: int, name: str, device: str) -> None:
    gpus(count)
    assert pick_device(name) == torch.device(device)


def test_device_names_are_unique_across_machines_and_gpus(monkeypatch) -> None:
    monkeypatch.setattr("platform.node", lambda: "Node_1.local")
    assert device_name(torch.device("cpu")) == "node-1.local-cpu"
    names = set()
    for uuid in ("5a-1", "5a-2"):
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _, uuid=uuid: SimpleNamespace(uuid=uuid))
        names.add(device_name(torch.device("cuda:0")))
    assert names == {"node-1.local-5a-1", "node-1.local-5a-2"}


def test_auto_is_the_default(gpus) -> None:
    gpus(0)
    assert pick_device() == torch.device("cpu")


@pytest.mark.parametrize("kind", ["xpu", "mps"])
def test_other_accelerators_are_found_by_the_same_function(gpus, monkeypatch, kind: str) -> None:
    gpus(0)
    monkeypatch.setattr(getattr(torch, kind), "device_count", lambda: 1)
    for name in ("auto", kind, f"{kind}:0"):
        assert pick_device(name) == torch.device(kind, 0)
    gpus(1)
    assert pick_device() == torch.device("cuda:0")


def test_free_memory_of_an_accelerator_is_its_own(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (5, 9))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 7)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 4)
    assert available_memory(torch.device("cuda:0")) == 8  # and what torch keeps for itself
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 70)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 30)
    assert available_memory(torch.device("mps:0")) == 40  # of the machine's, which has more


@pytest.mark.parametrize(("count", "name"), [(0, "cuda"), (0, "cuda:0"), (2, "cuda:2"), (2, "tpu"), (2, "")])
def test_unknown_device_is_refused_with_available_ones(gpus, count: int, name: str) -> None:
    gpus(count)
    allowed = ", ".join(["auto", "cpu", *(f"cuda:{i}" for i in range(count))])
    with pytest.raises(SDSError, match=f"unknown device: got '{name}'; allowed: {allowed}"):
        pick_device(name)


@pytest.fixture
def precision() -> Iterator[None]:
    """The precision of matrix products, put back behind the test."""
    before = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(before)


@pytest.mark.usefixtures("precision")
def test_products_are_accurate_at_the_precision_that_was_chosen() -> None:
    chosen = allow_fast_matmul(torch.device("cpu"))
    assert torch.get_float32_matmul_precision() == chosen
    a, b = torch.randn(2, 200, 200, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    exact = a @ b
    assert float(((a.float() @ b.float()).double() - exact).norm() / exact.norm()) < 1e-6


@pytest.mark.usefixtures("precision")
@pytest.mark.parametrize(("coarse", "expected"), [(True, "highest"), (False, "medium")])
def test_a_coarse_product_is_found_out(monkeypatch: pytest.MonkeyPatch, coarse: bool, expected: str) -> None:
    single = torch.Tensor.float

    def as_if(tensor: torch.Tensor) -> torch.Tensor:
        """As on a machine whose fast product rounds its factors to bfloat16, or on one whose product is exact."""
        fast = coarse and torch.get_float32_matmul_precision() == "medium"
        return single(tensor.bfloat16()) if fast else tensor.double()

    torch.set_float32_matmul_precision("highest")
    monkeypatch.setattr(torch.Tensor, "float", as_if)
    assert allow_fast_matmul(torch.device("cpu")) == expected
    assert torch.get_float32_matmul_precision() == expected


@pytest.mark.usefixtures("precision")
def test_trying_the_product_leaves_the_global_random_numbers_alone() -> None:
    before = torch.get_rng_state()
    allow_fast_matmul(torch.device("cpu"))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process's peak begin anew")
def test_a_peak_that_is_forgotten_counts_no_longer() -> None:
    forget_peak_memory()
    before = peak_memory()
    np.ones(16 << 20).sum()
    assert peak_memory() - before > 120 << 20
    forget_peak_memory()
    assert peak_memory() - before < 30 << 20
