"""The stand-in refuses what a GPU refuses, and counts what costs time there."""

import pytest
import torch

from tests.standin.device import Standin


def test_results_are_those_of_the_cpu(device: Standin) -> None:
    one, other = torch.randn(2, 5, 5, generator=torch.Generator().manual_seed(0))
    product = one.to(device.device) @ other.to(device.device)
    assert product.device == device.device and torch.equal(product.cpu(), one @ other)


def test_operations_on_two_devices_are_refused(device: Standin) -> None:
    here, there = torch.ones(3), torch.ones(3, device=device.device)
    with pytest.raises(RuntimeError, match="same device"):
        here + there
    with pytest.raises(RuntimeError, match="same device"):
        there.addcmul_(there, here)
    assert torch.equal((there * torch.tensor(2.0)).cpu(), torch.full((3,), 2.0))  # a number may come from the CPU


@pytest.mark.parametrize(
    ("use", "to_host", "waits"),
    [
        (lambda x: x @ x, 0, 0),
        (lambda x: x.sum(), 0, 0),
        (lambda x: x.sum().item(), 0, 1),
        (lambda x: bool((x > 0).all()), 0, 1),
        (lambda x: x.cpu(), 64, 1),
        (lambda x: x[0].tolist(), 16, 1),
        (lambda x: x.nonzero(), 0, 1),
        (lambda x: x[x > 0], 0, 1),
        (lambda x: x.masked_fill(x > 0, 0), 0, 0),
        (lambda x: torch.equal(x, x), 0, 1),
    ],
)
def test_copies_and_waits_are_counted(device: Standin, use, to_host: int, waits: int) -> None:
    device.reset()
    tensor = torch.eye(4).to(device.device)
    assert device.counts() == (0, 64, 0)
    use(tensor)
    assert device.counts() == (to_host, 64, waits)


def test_float64_can_be_refused(device: Standin) -> None:
    tensor = torch.ones(3, device=device.device)
    with device.without_float64(), pytest.raises(TypeError, match="no float64"):
        tensor.double()
    assert tensor.double().dtype == torch.float64
