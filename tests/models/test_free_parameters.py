"""What distillation moves: rounded for products of linear modules, its gradients masked."""

import torch

from sds_core.models.free_parameters import free_parameters
from sds_core.models.structure import find_blocks
from tests.models.families import build
from tests.models.test_distillation import two_of_four
from tests.models.test_experts import build_any

CPU = torch.device("cpu")


def test_modules_multiply_in_half_and_experts_in_their_own_precision() -> None:
    free = free_parameters(find_blocks(build_any("mixtral")), two_of_four, CPU, torch.bfloat16)
    for name, one in free.items():
        assert one.weight.dtype == torch.float32
        assert one.used.dtype == (torch.float32 if "experts" in name else torch.bfloat16)
        assert (one.used is one.weight) == ("experts" in name)


def test_gradients_of_what_is_used_move_the_kept_weights_alone() -> None:
    for half in (None, torch.bfloat16):
        one = next(iter(free_parameters(find_blocks(build("llama")), two_of_four, CPU, half).values()))
        (one.used.float() ** 2).sum().backward()
        expected = 2 * (one.weight.detach() if half is None else one.weight.detach().to(half).float())
        assert torch.equal(one.receive(), (expected * one.mask).to(half or torch.float32).float())
        assert one.weight.grad is not None and (one.used is one.weight or one.used.grad is None)
        with torch.no_grad():
            one.weight.add_(1)
        one.renew()
        assert torch.equal(one.used, one.weight.detach().to(one.used.dtype))


def test_experts_at_rest_have_no_gradient() -> None:
    one = next(iter(free_parameters(find_blocks(build("llama")), two_of_four, CPU, None).values()))
    assert not one.receive().any()
