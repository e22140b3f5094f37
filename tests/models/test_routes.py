"""The experts of every token are recorded as a mixture is evaluated. Expected ones come from hooks on its modules."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.models.llama.modeling_llama import LlamaMLP

from benchmarks.families import tiny
from sds_core.models.evaluate import evaluate
from sds_core.models.route_change import BlockRoutes, RouteChange
from sds_core.models.routes import Routes, has_routes, load_routes, route_change, save_routes
from sds_core.models.structure import find_blocks
from tests.models.families import MIXTURES, build, build_any, plain_logits, randomised, texts
from tests.models.test_expert_modules import routed
from tests.models.test_experts import experts_of
from tests.models.test_stream import CPU, halve

BY_ARGUMENT = ("mixtral", "qwen3_moe", "gpt_oss", "deepseek_v3", "llama4_text")
"""Families whose experts' module receives the choice, or, the last, the tokens of all experts one after the other."""


def evaluated(model: PreTrainedModel, windows: Tensor) -> Routes:
    routes = Routes()
    for _ in evaluate(find_blocks(model), windows, CPU, routes):
        pass
    return routes


def chosen(model: PreTrainedModel, windows: Tensor, block: int) -> list[set[int]]:
    """The experts of every token in a block, from the arguments of their module."""
    _, module = experts_of(model, block)
    found: list[set[int]] = []

    def note(_: object, args: tuple, kwargs: dict) -> None:
        hidden, *others = (*args, *kwargs.values())
        if others:
            found.extend(set(row) for row in others[0].tolist())
        else:
            own = hidden.view(len(module.down_proj), -1, hidden.shape[-1]).abs().sum(-1) > 0
            found.extend({i for i, sent in enumerate(row) if sent} for row in own.T.tolist())

    handle = module.register_forward_pre_hook(note, with_kwargs=True)
    plain_logits(model, windows)
    handle.remove()
    return found


@pytest.mark.parametrize("name", BY_ARGUMENT)
def test_routes_are_what_the_experts_receive(name: str) -> None:
    model, windows = build_any(name), texts(4, 24)
    first = 1 if name == "deepseek_v3" else 0  # whose first block is dense
    before = {block: chosen(model, windows, block) for block in range(first, 3)}
    dense = evaluated(model, windows)
    assert {block: [set(row) for row in experts.tolist()] for block, experts in dense.items()} == before
    for linear in find_blocks(model).blocks[0].linears:
        halve(linear)
    after = {block: chosen(model, windows, block) for block in range(first, 3)}
    change = route_change(evaluated(model, windows), dense)
    assert change is not None and change.changed > 0
    for one in change.blocks:
        pairs = zip(before[one.block], after[one.block], strict=True)
        assert one.changed == pytest.approx(sum(a != b for a, b in pairs) / windows.numel())
        assert change.of_block(one.block) == one.changed
    assert change.changed == pytest.approx(sum(one.changed for one in change.blocks) / len(before))


def test_windows_side_by_side_have_routes_as_well() -> None:
    model, windows = build_any("mixtral"), texts(4, 24)
    torch.set_num_threads(2)
    try:
        found = evaluated(model, windows)
    finally:
        torch.set_num_threads(1)
    assert {block: [set(row) for row in experts.tolist()] for block, experts in found.items()} == {
        block: chosen(model, windows, block) for block in range(3)
    }


@pytest.mark.parametrize("name", ["deepseek_v4", "inkling_text", "longcat_flash", "phimoe"])
def test_routes_are_known_although_the_family_is_unusual(name: str) -> None:
    """Several hidden states a token, experts for all tokens, experts that do nothing, one choice after another."""
    model, windows = tiny(name, "eager"), texts(3, 24, vocabulary=90)
    structure, found = find_blocks(model), []

    def note(_: object, args: tuple, kwargs: dict) -> None:
        indices = next(x for x in (*args, *kwargs.values()) if isinstance(x, Tensor) and x.dtype == torch.int64)
        found.extend(set(row) for row in indices.tolist())

    block = structure.blocks[-1]
    experts = next(linear.module for linear in block.linears if linear.routed)
    handle = experts.register_forward_pre_hook(note, with_kwargs=True)
    plain_logits(model, windows)
    handle.remove()
    assert [set(row) for row in evaluated(model, windows)[block.index].tolist()] == found


def test_routes_to_modules_in_a_list_are_recorded() -> None:
    model, windows = routed(), texts(3, 24)
    found: list[int] = []
    router = model.model.layers[1].mlp.router
    handle = router.register_forward_hook(lambda _, args, result: found.extend(result.argmax(-1).flatten().tolist()))
    plain_logits(model, windows)
    handle.remove()
    assert evaluated(model, windows)[1].flatten().tolist() == found


class Ranked(nn.Module):
    """Four experts in a list; a function of the router's outputs (..., 4) names two (..., 2) for each token."""

    def __init__(self, mlps: list[nn.Module], rank: Callable[[Tensor], Tensor]):
        super().__init__()
        self.router, self.experts, self.rank = nn.Linear(32, 4, bias=False), nn.ModuleList(mlps), rank

    def forward(self, hidden: Tensor) -> Tensor:
        chosen, found = self.rank(self.router(hidden)), torch.zeros_like(hidden)
        for number, expert in enumerate(self.experts):
            own = (chosen == number).any(-1)
            found[own] += expert(hidden[own])
        return found


RANKINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "sort": lambda scores: scores.sigmoid().sort(descending=True).indices[..., :2],
    "argsort": lambda scores: torch.argsort(-scores, dim=-1)[..., :2],
    "the last of an ascending sort": lambda scores: scores.softmax(-1).argsort()[..., 2:],
    "the first of a longer top-k": lambda scores: scores.topk(3).indices[..., :2],
}


@pytest.mark.parametrize("ranking", RANKINGS)
def test_routes_are_the_part_of_a_ranking_that_the_experts_receive(ranking: str) -> None:
    model, windows = build("llama"), texts(3, 24)
    for layer in model.model.layers:
        layer.mlp = Ranked([LlamaMLP(model.config) for _ in range(4)], RANKINGS[ranking])
    randomised(model)
    best: list[set[int]] = []
    router = model.model.layers[1].mlp.router
    note = lambda _, args, scores: best.extend(set(row) for row in scores.flatten(0, -2).topk(2).indices.tolist())
    handle = router.register_forward_hook(note)
    plain_logits(model, windows)
    handle.remove()
    assert [set(row) for row in evaluated(model, windows)[1].tolist()] == best


def test_two_routers_of_a_block_stand_side_by_side() -> None:
    routes = evaluated(build_any("jetmoe"), texts(4, 24))
    assert list(routes) == [0, 1, 2] and {experts.shape for experts in routes.values()} == {(96, 4)}


@pytest.mark.parametrize("name", MIXTURES)
def test_every_mixture_has_routes(name: str) -> None:
    assert has_routes(find_blocks(build_any(name)))


def test_a_model_without_experts_has_no_routes() -> None:
    model = build("llama")
    assert evaluated(model, texts()) == {} and not has_routes(find_blocks(model))
    assert route_change({}, {}) is None


def test_routes_survive_their_file(tmp_path) -> None:
    routes = {0: torch.tensor([[0, 1], [2, 3]], dtype=torch.int16), 7: torch.tensor([[5], [0]], dtype=torch.int16)}
    for kept in (routes, {}):
        save_routes(tmp_path / "routes", kept)
        found = load_routes(tmp_path / "routes")
        assert found.keys() == kept.keys() and all(torch.equal(found[block], kept[block]) for block in kept)


def test_change_counts_tokens_of_whose_experts_one_is_another() -> None:
    dense = {0: torch.tensor([[0, 1], [2, 3], [1, 2], [0, 3]]), 2: torch.tensor([[1], [1], [0], [0]])}
    own = {0: torch.tensor([[0, 1], [1, 3], [1, 2], [1, 2]]), 2: torch.tensor([[1], [1], [0], [1]])}
    change = route_change(own, dense)
    assert change == RouteChange((BlockRoutes(0, 0.5), BlockRoutes(2, 0.25)))
    assert change.changed == 0.375 and change.of_block(1) is None
    assert change.sentence.startswith("Routers send 37.5 % of the evaluation tokens to other experts")
    assert change.sentence.endswith("block 0 the most, 50.0 %.")
