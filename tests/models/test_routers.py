"""Linears that choose are recognised by the top-k they lead to, whatever they are called."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from sds_core.models.routers import choosing
from sds_core.models.structure import find_blocks
from tests.models.families import build

Choice = Callable[[Tensor], Tensor]
CHOICES: dict[str, Choice] = {
    "top-k of a softmax": lambda scores: scores.softmax(-1).topk(2).indices,
    "top-k of a sigmoid with a bias": lambda scores: (scores.sigmoid() + 0.1).topk(2, dim=-1).indices,
    "top-k within groups": lambda scores: scores.view(*scores.shape[:-1], 2, 2).topk(1, dim=-1).indices.flatten(-2),
    "arg-max": lambda scores: scores.float().argmax(-1, keepdim=True),
    "maximum": lambda scores: scores.exp().max(-1, keepdim=True).indices,
    "sort": lambda scores: scores.sort(descending=True).indices[..., :2],
}


class Routed(nn.Module):
    """Four experts; a linear chooses between them, and another, of as many outputs, does not."""

    def __init__(self, mlp: nn.Module, choose: Choice):
        super().__init__()
        self.mlp, self.choose = mlp, choose
        self.who, self.narrow, self.wide = nn.Linear(32, 4), nn.Linear(32, 4), nn.Linear(4, 32)

    def forward(self, hidden: Tensor) -> Tensor:
        chosen = self.choose(self.who(hidden))
        weight = torch.zeros(*hidden.shape[:-1], 4).scatter(-1, chosen, 1.0)
        return weight.sum(-1, keepdim=True) * self.mlp(hidden) + self.wide(self.narrow(hidden))


def routed(choose: Choice) -> PreTrainedModel:
    model = build("llama")
    for layer in model.model.layers:
        layer.mlp = Routed(layer.mlp, choose)
    return model


@pytest.mark.parametrize("choice", CHOICES)
def test_router_is_not_pruned(choice: str) -> None:
    structure = find_blocks(routed(CHOICES[choice]))
    routers = {f"model.layers.{i}.mlp.who" for i in range(3)}
    assert structure.excluded == dict.fromkeys(routers, "it is a router: its outputs decide a choice")
    assert {"mlp.narrow", "mlp.wide"} <= {linear.label for linear in structure.blocks[1].linears}


def test_choice_behind_a_product_marks_no_router() -> None:
    first, second = nn.Linear(8, 8), nn.Linear(8, 8)
    with choosing([first, second]) as found:
        hidden = first(torch.randn(3, 8))
        (hidden @ torch.randn(8, 5)).topk(2)
        second(hidden).relu().topk(2)
    assert found() == {second}


def test_watching_leaves_no_hooks_behind() -> None:
    linear = nn.Linear(4, 4)
    with pytest.raises(ZeroDivisionError), choosing([linear]):
        _ = 1 / 0
    assert not linear._forward_hooks


@pytest.mark.parametrize("name", ["llama", "gpt2", "falcon", "gemma3_text"])
def test_a_dense_model_has_no_routers(name: str) -> None:
    assert find_blocks(build(name)).excluded == {}
