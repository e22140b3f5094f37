"""The parameters of a pruned model that distillation moves, and what the student computes with in their place."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from sds_core.models.linear import Linear
from sds_core.models.structure import ModelStructure
from sds_core.pruning.layer_problem import Pruned


@dataclass(frozen=True, eq=False)
class FreeParameter:
    """A parameter as it is stored, where it may move, and what the student computes with."""

    weight: Tensor
    """In float32."""
    mask: Tensor
    used: Tensor
    """In the precision of the products, with a gradient; where that is float32, the weight itself."""

    def receive(self) -> Tensor:
        """Move the gradient from what was used to the weight, none for pruned weights, and return it."""
        found = self.used.grad
        if found is None:  # an expert at rest
            found = torch.zeros_like(self.used)
        self.used.grad = None
        self.weight.grad = found.float().mul_(self.mask)
        return self.weight.grad

    def renew(self) -> None:
        """Round the weight to what is used."""
        if self.used is not self.weight:
            with torch.no_grad():
                self.used.copy_(self.weight)


def free_parameters(
    structure: ModelStructure, pruned: Callable[[Linear], Pruned], device: torch.device, autocast: torch.dtype | None
) -> dict[str, FreeParameter]:
    """Return the parameters that hold prunable linears, by name; what else they hold is dense and does not move."""
    stored: dict[str, tuple[Tensor, Tensor, torch.dtype]] = {}
    for block in structure.blocks:
        for linear in block.linears:
            name, dense = linear.parameter_name, linear.parameter.data
            if name not in stored:
                products = autocast if autocast and isinstance(linear.module, nn.Linear | Conv1D) else dense.dtype
                stored[name] = dense.float().clone(), torch.zeros_like(dense, dtype=torch.bool), products
            given = pruned(linear)
            linear.view(stored[name][0]).copy_(given.weight)
            linear.view(stored[name][1]).copy_(given.mask)
    found = {}
    for name, (weight, mask, products) in stored.items():
        there = weight.to(device).requires_grad_()
        used = there if products == torch.float32 else there.detach().to(products).requires_grad_()
        found[name] = FreeParameter(there, mask.to(device), used)
    return found
