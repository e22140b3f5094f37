"""Decoder blocks and prunable linears are found by behaviour, in every family."""

import copy
from collections import defaultdict

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from sds_core.errors import SDSError
from sds_core.models.linear import SHARED
from sds_core.models.structure import Block, find_blocks
from tests.models.families import FAMILIES, VOCABULARY, build


def groups(block: Block) -> set[frozenset[str]]:
    """Labels of the block's linears, those with one input together."""
    together: dict[str, set[str]] = defaultdict(set)
    for linear in block.linears:
        together[linear.input].add(linear.label)
    return {frozenset(labels) for labels in together.values()}


@pytest.mark.parametrize("name", FAMILIES)
def test_every_block_and_every_prunable_linear_is_found(name: str) -> None:
    family = FAMILIES[name]
    model = build(name)
    structure = find_blocks(model)
    listed = model.get_submodule(family.blocks)
    assert [block.module for block in structure.blocks] == list(listed)
    assert [block.index for block in structure.blocks] == list(range(len(listed)))
    for block in structure.blocks:
        assert block.name == f"{family.blocks}.{block.index}"
        assert groups(block) == {frozenset(group) for group in family.groups}
        for linear in block.linears:
            assert linear.name == f"{block.name}.{linear.label}"
            assert model.get_submodule(linear.name) is linear.module


@pytest.mark.parametrize("name", FAMILIES)
def test_shared_input_is_named_after_the_first_linear(name: str) -> None:
    for block in find_blocks(build(name)).blocks:
        order = [linear.label for linear in block.linears]
        for linear in block.linears:
            assert linear.input in order
            assert order.index(linear.input) <= order.index(linear.label)


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_read_and_write_use_outputs_by_inputs(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    linear = next(x for x in find_blocks(build(name)).blocks[1].linears if x.label in ("mlp.down_proj", "mlp.c_fc"))
    rows, columns = linear.shape
    assert rows != columns
    inputs = torch.randn(5, columns, generator=generator)
    bias = 0 if linear.module.bias is None else linear.module.bias
    assert torch.allclose(linear.module(inputs), inputs @ linear.read().T + bias, atol=1e-5)

    weight = torch.randn(rows, columns, generator=generator)
    linear.write(weight)
    assert torch.equal(linear.read(), weight)
    assert torch.allclose(linear.module(inputs), inputs @ weight.T + bias, atol=1e-5)


def test_gpt2_weight_stays_transposed() -> None:
    linear = find_blocks(build("gpt2")).blocks[0].linears[0]
    stored = linear.module.weight
    assert linear.label == "attn.c_attn" and stored.shape == (32, 96) and linear.shape == (96, 32)
    weight = torch.arange(96.0 * 32).view(96, 32)
    linear.write(weight)
    assert linear.module.weight is stored and stored.is_contiguous()
    assert torch.equal(stored.data, weight.T)


def test_read_copies_in_float32_and_write_casts_once() -> None:
    model = build("llama").to(torch.bfloat16)
    linear = find_blocks(model).blocks[0].linears[0]
    before = linear.module.weight.detach().clone()
    copied = linear.read()
    assert copied.dtype == torch.float32
    copied.zero_()
    assert torch.equal(linear.module.weight, before)

    third = torch.full(linear.shape, 1 / 3)
    linear.write(third)
    assert linear.module.weight.dtype == torch.bfloat16
    assert torch.equal(linear.module.weight.data, third.bfloat16())


def test_a_read_copy_does_not_alias_a_float32_weight() -> None:
    linear = find_blocks(build("gpt2")).blocks[0].linears[0]
    before = linear.read()
    linear.read().zero_()
    assert torch.equal(linear.read(), before) and before.abs().max() > 0


def test_the_model_is_counted_with_shared_weights_once() -> None:
    model = build("llama", tie_word_embeddings=True)
    structure = find_blocks(model)
    block = 32 * 32 * 2 + 16 * 32 * 2 + 48 * 32 * 3
    norms = 7 * 32
    assert structure.prunable == 3 * block
    assert structure.total == 3 * block + norms + VOCABULARY * 32


def shared_query() -> PreTrainedModel:
    """A llama whose second block has the first one's query weight."""
    model = build("llama")
    first, second = model.model.layers[0], model.model.layers[1]
    second.self_attn.q_proj.weight = first.self_attn.q_proj.weight
    return model


def test_a_weight_shared_between_blocks_is_pruned_once() -> None:
    structure = find_blocks(shared_query())
    labels = [[linear.label for linear in block.linears] for block in structure.blocks]
    assert "self_attn.q_proj" in labels[0] and "self_attn.q_proj" not in labels[1] and "self_attn.q_proj" in labels[2]
    assert len(labels[1]) == 6


class Gated(nn.Module):
    """An MLP behind a gate of one output that is called before it, and a linear that is never called."""

    def __init__(self, mlp: nn.Module):
        super().__init__()
        self.mlp, self.gate, self.unused = mlp, nn.Linear(32, 1), nn.Linear(32, 32)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.gate(hidden).sigmoid() * self.mlp(hidden)


def gated() -> PreTrainedModel:
    model = build("llama")
    for layer in model.model.layers:
        layer.mlp = Gated(layer.mlp)
    return model


def test_one_output_and_uncalled_linears_are_excluded() -> None:
    labels = {linear.label for block in find_blocks(gated()).blocks for linear in block.linears}
    assert labels == {
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.v_proj",
        "self_attn.o_proj",
        "mlp.mlp.gate_proj",
        "mlp.mlp.up_proj",
        "mlp.mlp.down_proj",
    }


@pytest.mark.parametrize("model", [shared_query, gated])
def test_inputs_are_named_after_a_linear_that_is_pruned(model) -> None:
    for block in find_blocks(model()).blocks:
        labels = {linear.label for linear in block.linears}
        assert {linear.input for linear in block.linears} <= labels


class Deeper(nn.Module):
    """Embeddings followed by a small chain of their own."""

    def __init__(self, embed: nn.Module):
        super().__init__()
        self.embed = embed
        self.steps = nn.ModuleList(nn.Linear(32, 32, bias=False) for _ in range(5))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        hidden = self.embed(tokens)
        for step in self.steps:
            hidden = step(hidden)
        return hidden


def test_largest_of_several_chains_is_the_decoder() -> None:
    model = build("llama")
    model.model.embed_tokens = Deeper(model.model.embed_tokens)
    structure = find_blocks(model)
    assert [block.name for block in structure.blocks] == ["model.layers.0", "model.layers.1", "model.layers.2"]


def test_a_model_of_one_block_is_dissected() -> None:
    structure = find_blocks(build("llama", num_hidden_layers=1))
    assert [block.name for block in structure.blocks] == ["model.layers.0"]


class Copies(nn.Module):
    """A block that hands out a copy of its hidden states, and one that takes a copy."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, hidden: torch.Tensor, **kwargs) -> torch.Tensor:
        return self.block(hidden, **kwargs)

    def __call__(self, hidden: torch.Tensor, **kwargs) -> torch.Tensor:
        return super().__call__(hidden.clone(), **kwargs)


def test_copied_hidden_states_still_form_a_chain() -> None:
    model = build("llama")
    model.model.layers = nn.ModuleList(Copies(block) for block in model.model.layers)
    structure = find_blocks(model)
    assert [block.name for block in structure.blocks] == ["model.layers.0", "model.layers.1", "model.layers.2"]
    assert structure.slot == 0


class SideBySide(PreTrainedModel):
    """Layers that all read the embeddings: a list, but no chain."""

    config_class = LlamaConfig

    def __init__(self, config: LlamaConfig):
        super().__init__(config)
        self.embed = nn.Embedding(config.vocab_size, 8)
        self.branches = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))
        self.post_init()

    def forward(self, tokens: torch.Tensor, use_cache: bool = False) -> CausalLMOutput:
        hidden = self.embed(tokens)
        return CausalLMOutput(logits=sum(branch(hidden) for branch in self.branches))


def test_list_that_is_no_chain_is_refused_by_name() -> None:
    with pytest.raises(SDSError, match=r"no decoder blocks were found in SideBySide.*branches"):
        find_blocks(SideBySide(LlamaConfig(vocab_size=16)))


def test_a_model_without_any_list_is_refused() -> None:
    with pytest.raises(SDSError, match=r"no decoder blocks were found in LlamaForCausalLM.*none"):
        find_blocks(build("llama", num_hidden_layers=0))


def test_dissecting_changes_nothing_and_leaves_no_hooks_behind() -> None:
    model = build("llama")
    before = copy.deepcopy(model.state_dict())
    find_blocks(model)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_what_is_left_out_is_named_with_its_reason() -> None:
    assert find_blocks(build("llama")).excluded == {}
    structure = find_blocks(gated())
    assert structure.excluded == {
        f"model.layers.{i}.mlp.{name}": why
        for i in range(3)
        for name, why in (("gate", "it has one output"), ("unused", "it is never called"))
    }
    assert find_blocks(shared_query()).excluded == {"model.layers.1.self_attn.q_proj": SHARED}


class Again(nn.Module):
    """An MLP between two calls of one linear, whose inputs no Gram matrix of a single call holds."""

    def __init__(self, mlp: nn.Module):
        super().__init__()
        self.mlp, self.again = mlp, nn.Linear(32, 32)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.again(self.mlp(self.again(hidden)))


def test_a_linear_that_a_block_calls_with_several_inputs_is_excluded() -> None:
    model = build("llama")
    for layer in model.model.layers:
        layer.mlp = Again(layer.mlp)
    structure = find_blocks(model)
    assert structure.excluded == {f"model.layers.{i}.mlp.again": "it is called with several inputs" for i in range(3)}
    assert [len(block.linears) for block in structure.blocks] == [7, 7, 7]


class Doubled(nn.Linear):
    """Derived from a linear, and not a product with its weight."""

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(hidden)


class Renamed(nn.Linear):
    """Derived from a linear, and one."""


@pytest.mark.parametrize(("kind", "pruned"), [(Doubled, False), (Renamed, True)])
def test_derived_linear_is_pruned_if_it_computes_the_product(kind: type, pruned: bool) -> None:
    model = build("llama")
    model.model.layers[1].self_attn.o_proj = kind(32, 32)
    structure = find_blocks(model)
    assert (len(structure.blocks[1].linears) == 7) is pruned
    assert list(structure.excluded) == ([] if pruned else ["model.layers.1.self_attn.o_proj"])


def test_all_block_matrices_are_counted_once() -> None:
    model = build("llama")
    structure = find_blocks(model)
    assert structure.matrices == structure.prunable
    for layer in model.model.layers:
        layer.experts = nn.Parameter(torch.zeros(4, 5, 6))
    model.model.layers[1].experts = model.model.layers[0].experts
    assert find_blocks(model).matrices == structure.prunable + 2 * 4 * 5 * 6
