"""Weights travel to a device and back: once, and only those that were written to."""

import pytest
import torch
from torch import nn

from sds_core.errors import SDSError
from sds_core.models.placement import DeviceCopies, moved, on_device
from sds_core.models.structure import find_blocks
from sds_core.pruning.gram import Gram
from sds_core.pruning.linalg import pick
from tests.models.families import build
from tests.standin.device import Standin


def test_only_written_weights_travel_back(device: Standin) -> None:
    structure = find_blocks(build("llama"))
    block, (first, second, *_) = structure.blocks[0].module, structure.blocks[0].linears
    before, parameters = second.read(), dict(block.named_parameters())
    device.reset()
    with on_device(block, device.device, structure.store):
        assert all(parameter.device == device.device for parameter in block.parameters())
        assert device.counts().to_device == sum(parameter.nbytes for parameter in parameters.values())
        first.write(torch.full(first.shape, 2.0, device=device.device))
    assert device.counts().to_host == first.weight.nbytes
    assert (first.weight == 2).all() and torch.equal(second.read(), before)
    assert all(parameter is parameters[name] for name, parameter in block.named_parameters())


def test_shared_weights_are_copied_once(device: Standin) -> None:
    one = nn.Linear(4, 4, bias=False)
    other = nn.Linear(4, 4, bias=False)
    other.weight = one.weight
    device.reset()
    with moved([one, other], device.device):
        assert one.weight is other.weight and device.counts().to_device == one.weight.nbytes
        with moved([one], device.device):  # there already
            assert device.counts().to_device == one.weight.nbytes
    assert one.weight is other.weight and one.weight.device.type == "cpu" and device.counts().to_host == 0


def test_weights_are_back_after_an_error(device: Standin) -> None:
    module = nn.Linear(4, 4)
    with pytest.raises(ValueError, match="stop"), moved([module], device.device):
        raise ValueError("stop")
    assert {parameter.device.type for parameter in module.parameters()} == {"cpu"}


def test_weights_are_back_where_the_device_is_too_small(device: Standin, monkeypatch: pytest.MonkeyPatch) -> None:
    module, move = nn.Linear(4, 4), torch.Tensor.to

    def out_of_memory(tensor: torch.Tensor, *args: object, **kwargs: object) -> torch.Tensor:
        if tensor.ndim == 1:  # the bias, which comes last
            raise torch.OutOfMemoryError
        return move(tensor, *args, **kwargs)

    monkeypatch.setattr(torch.Tensor, "to", out_of_memory)
    with pytest.raises(torch.OutOfMemoryError), moved([module], device.device):
        pass
    assert {parameter.device.type for parameter in module.parameters()} == {"cpu"}


def test_tensors_that_come_again_are_copied_once(device: Standin) -> None:
    to_device, tensor = DeviceCopies(device.device), torch.ones(8)
    device.reset()
    assert to_device(tensor) is to_device(tensor) and device.counts().to_device == tensor.nbytes
    assert DeviceCopies(torch.device("cpu"))(tensor) is tensor


def test_an_indefinite_matrix_is_refused_though_nobody_waits(device: Standin) -> None:
    gram = Gram(torch.tensor([[1.0, 2.0], [2.0, 1.0]]).to(device.device), "a layer")
    device.reset()
    solved = gram.ridge_solve(torch.ones(3, 2, device=device.device), 0.1)
    assert device.counts().waits == 0
    with pytest.raises(SDSError, match=r"the inputs of a layer is not positive definite at rho up to 0\.1"):
        gram.require_solved(solved, 0.1)


def test_nobody_waits_for_a_choice(device: Standin) -> None:
    low, high = torch.tensor(1.0, device=device.device), torch.tensor(2.0, device=device.device)
    device.reset()
    (chosen,) = pick(low < high, (low,), (high,))
    assert device.counts().waits == 0 and chosen.item() == 1
