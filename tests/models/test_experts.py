"""Experts stored as one parameter for each projection are layers like any other, found by the products they take part
in. Expected inputs come from hooks on the experts' module and its own arguments."""

import copy
import shutil
import weakref
from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from sds_core.layer_result import LayerResult
from sds_core.models import observation
from sds_core.models.block_reconstruction import adjust_block
from sds_core.models.exclude import exclude_layers
from sds_core.models.input_sums import InputSums
from sds_core.models.load import load_model
from sds_core.models.logits import logits
from sds_core.models.observation import observe, observe_groups
from sds_core.models.products import watching_products
from sds_core.models.stream import capture
from sds_core.models.structure import ModelStructure, find_blocks
from sds_core.pruning.layer_problem import Pruned
from sds_core.pruning.methods import SDSAdmm
from sds_core.pruning.reconstruction import Reconstruction, Window
from sds_core.sds import run_phase
from tests.models.families import MIXTURES, build_any, plain_logits, texts
from tests.models.test_stream import CPU, halve, replayed
from tests.passes import ADMM_TAUGHT, BLOCK, SHORT_ADMM, SUBMODULE, Results, make_recipe

EXPERTS = {"mixtral": 4, "qwen3_moe": 8, "gpt_oss": 4, "llama4_text": 4}
"""Families whose experts' module is `mlp.experts` or `feed_forward.experts`, and their number."""
TRANSPOSED = ("gpt_oss", "llama4_text")


def experts_of(model: PreTrainedModel, block: int) -> tuple[str, nn.Module]:
    """The experts' module of a block, with its name inside the block."""
    named = model.model.layers[block].named_modules()
    return next((name, module) for name, module in named if name.endswith(".experts"))


def routed_inputs(model: PreTrainedModel, windows: Tensor, block: int) -> dict[str, Tensor]:
    """What each expert's matrix multiplies, by label as X (N, C) in float64, from the arguments of the module alone."""
    name, module = experts_of(model, block)
    calls: list[tuple[Tensor, ...]] = []
    note = lambda _, args, kwargs: calls.append((*args, *kwargs.values()))
    handle = module.register_forward_pre_hook(note, with_kwargs=True)
    plain_logits(model, windows)
    handle.remove()
    found = dict[str, Tensor]()
    for expert in range(len(module.down_proj)):
        parts = []
        for hidden, *chosen in calls:
            if chosen:  # the experts of every token
                parts.append(hidden[(chosen[0] == expert).any(-1)])
            else:  # all tokens for every expert, zero where the router did not choose it
                own = hidden.view(len(module.down_proj), -1, hidden.shape[-1])[expert]
                parts.append(own[own.abs().sum(-1) > 0])
        inputs = torch.cat(parts)
        weight = module.gate_up_proj[expert].detach()
        gated = inputs @ (weight if model.config.model_type in TRANSPOSED else weight.T)
        if hasattr(module, "gate_up_proj_bias"):
            gated = module._apply_gate(gated + module.gate_up_proj_bias[expert].detach())
        else:
            gate, up = gated.chunk(2, dim=-1)
            gated = module.act_fn(gate) * up
        found[f"{name}.{expert}.gate_up_proj"] = inputs.double()
        found[f"{name}.{expert}.down_proj"] = gated.detach().double()
    return found


def expert_labels(structure: ModelStructure, block: int) -> list[str]:
    return [linear.label for linear in structure.blocks[block].linears if linear.expert is not None]


@pytest.mark.parametrize("name", EXPERTS)
def test_every_expert_matrix_is_a_layer(name: str) -> None:
    model = build_any(name)
    structure = find_blocks(model)
    for block in range(3):
        place, module = experts_of(model, block)
        numbers = range(EXPERTS[name])
        expected = [f"{place}.{e}.gate_up_proj" for e in numbers] + [f"{place}.{e}.down_proj" for e in numbers]
        assert expert_labels(structure, block) == expected
        for linear in structure.blocks[block].linears:
            if linear.expert is not None:
                stored = getattr(module, linear.label.rpartition(".")[2])[linear.expert]
                assert torch.equal(linear.weight, stored.T if name in TRANSPOSED else stored)
                assert linear.name == f"model.layers.{block}.{linear.label}"
    reason = "its output is not the product with its weight"
    routers = [f"model.layers.{block}.feed_forward.router" for block in range(3)] if name == "llama4_text" else []
    assert structure.excluded == dict.fromkeys(routers, reason)


@pytest.mark.parametrize("name", MIXTURES)
def test_nearly_all_weights_of_a_mixture_are_prunable(name: str) -> None:
    structure = find_blocks(build_any(name))
    assert structure.prunable / structure.matrices > 0.95  # the rest are routers and biases
    found = [linear.identity for block in structure.blocks for linear in block.linears]
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("name", MIXTURES)
def test_a_pruned_mixture_replays_exactly(name: str) -> None:
    model, windows = build_any(name), texts()
    structure = find_blocks(model)
    dense = plain_logits(model, windows)
    assert torch.equal(replayed(capture(structure, windows, CPU), windows), dense)
    stream = capture(structure, windows, CPU)
    for block in structure.blocks[:2]:
        for linear in block.linears:
            halve(linear)
            assert not linear.weight[:, ::2].any() and linear.weight[:, 1::2].all()
    pruned = plain_logits(model, windows)
    assert (pruned - dense).abs().max() > 1
    assert torch.equal(replayed(stream, windows), pruned)


@pytest.mark.parametrize("name", EXPERTS)
def test_gram_matrices_are_of_the_routed_tokens(name: str) -> None:
    model, windows = build_any(name), texts(6, 24)
    structure = find_blocks(model)
    stream = capture(structure, windows, CPU)
    stream.advance()
    seen, outputs = observe(stream)
    inputs = routed_inputs(model, windows, 1)
    assert set(inputs) == set(expert_labels(structure, 1))
    for label, x in inputs.items():
        assert 0 < len(x) < windows.numel()
        expected, columns = x.T @ x / len(x), x.shape[1]
        if len(x) < columns:
            share = len(x) / columns
            expected = share * expected + (1 - share) * expected.diagonal().diag()
        assert seen[label].scarcity == ("few tokens" if len(x) < columns else "")
        torch.testing.assert_close(seen[label].gram.matrix.double(), expected, rtol=1e-4, atol=1e-5)
    stream.move_on(outputs)
    stream.advance()
    assert torch.equal(torch.stack(list(logits(stream, windows))), plain_logits(model, windows))


@pytest.mark.parametrize("memory", [1 << 30, 100_000, 1])
@pytest.mark.parametrize("with_teacher", [False, True])
@pytest.mark.parametrize("name", ["mixtral", "llama4_text"])
def test_groups_of_experts_see_what_the_whole_block_does(
    name: str, with_teacher: bool, memory: int, monkeypatch
) -> None:
    monkeypatch.setattr(observation, "available_memory", lambda _: memory)
    structure = find_blocks(build_any(name))
    block, stream = structure.blocks[0], capture(structure, texts(4), CPU)
    teacher = stream.fork() if with_teacher else None
    whole, outputs = observe(stream, stream.fork() if with_teacher else None, None, 1)
    dense = copy.deepcopy(block.module)
    assert [len(group) for group in block.groups if group[0].expert is not None] == [4, 4]
    found, parts = {}, []
    for linears, seen in observe_groups(stream, block.groups, teacher, dense if with_teacher else None, held_out=1):
        assert {linear.input for linear in linears} == set(seen)
        found |= seen
        parts += [linears] if linears[0].expert is not None else []
    assert set(found) == set(whole) and sum(map(len, parts)) == 8
    assert len(parts) == 2 if memory > 100_000 else 2 < len(parts) < 8 if memory > 1 else len(parts) == 8
    for label, one in whole.items():
        assert torch.equal(one.gram.matrix, found[label].gram.matrix) and one.scarcity == found[label].scarcity
        mine, its = ((x.teacher_shift, x.held_out and x.held_out.matrix) for x in (one, found[label]))
        torch.testing.assert_close(mine, its, rtol=0, atol=0)
        assert (one.teacher_shift is not None) == with_teacher
    assert any(one.held_out for one in whole.values())
    assert all(map(torch.equal, stream.hidden, outputs)) and stream.position == 1


def test_only_windows_that_an_expert_sees_whole_are_paired_with_the_teachers() -> None:
    stream = capture(find_blocks(build_any("mixtral")), texts(2, 24), CPU)
    expert = next(linear for linear in stream.structure.blocks[0].linears if linear.expert is not None)
    generator = torch.Generator().manual_seed(0)
    few, other_few = torch.randn(2, 10, 32, generator=generator)
    whole, other_whole = torch.randn(2, 24, 32, generator=generator)
    sums = InputSums([expert], stream, 0, cross=True)
    sums.add(expert.label, 0, few, other_few)  # as many tokens in both models, not the same ones
    sums.add(expert.label, 1, whole, other_whole)
    sums.sum_up()
    shift = sums.observed()[expert.label].teacher_shift
    assert shift is not None
    torch.testing.assert_close(shift, (other_whole.T @ whole - whole.T @ whole) / 34, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", EXPERTS)
def test_wanda_prunes_each_expert_by_its_own_tokens(name: str) -> None:
    model, windows = build_any(name), texts(6, 24)
    dense = copy.deepcopy(model)
    for _ in run_phase("sparse", find_blocks(model), windows, make_recipe(ADMM_TAUGHT), CPU, Results()):
        pass
    pruned = {linear.name: linear for block in find_blocks(model).blocks for linear in block.linears}
    for block in range(3):  # what a block sees comes from the pruned blocks before it, its own weights being dense
        mixed = copy.deepcopy(dense)
        mixed.model.layers[:block].load_state_dict(model.model.layers[:block].state_dict())
        weights = {linear.label: linear.read() for linear in find_blocks(mixed).blocks[block].linears}
        for label, x in routed_inputs(mixed, windows, block).items():
            score = weights[label].abs() * x.square().sum(0).sqrt()
            fours = score.view(len(score), -1, 4)
            kept = torch.zeros_like(fours, dtype=torch.bool).scatter_(-1, fours.topk(2, dim=-1).indices, True)
            found = pruned[f"model.layers.{block}.{label}"].weight
            assert torch.equal(found != 0, kept.view_as(score)), (block, label)
            assert torch.equal(found, weights[label] * kept.view_as(score))


def starved() -> PreTrainedModel:
    """A mixture whose router never chooses expert 3: it scores below 0, the others above, for inputs are positive."""
    model = build_any("mixtral")
    with torch.no_grad():
        for layer in model.model.layers:
            layer.post_attention_layernorm.forward = torch.abs
            layer.mlp.gate.weight.abs_()[3].neg_()
    return model


def test_an_expert_without_tokens_is_pruned_by_magnitude() -> None:
    model, windows = starved(), texts(3)
    structure = find_blocks(model)
    seen, _ = observe(capture(structure, windows, CPU), held_out=1)
    for label in ("mlp.experts.3.gate_up_proj", "mlp.experts.3.down_proj"):
        assert torch.equal(seen[label].gram.matrix, torch.eye(len(seen[label].gram.matrix)))
        assert (
            seen[label].scarcity == "no tokens" and seen[label].held_out is None and seen[label].teacher_shift is None
        )
    untouched = 0
    for event in run_phase("fused", structure, windows, make_recipe(ADMM_TAUGHT), CPU, Results()):
        if isinstance(event, LayerResult) and event.linear.expert == 3:
            untouched += event.scarcity == "no tokens"
            fours = event.problem.weight.abs().view(event.linear.shape[0], -1, 4)
            largest = torch.zeros_like(fours, dtype=torch.bool).scatter_(-1, fours.topk(2, dim=-1).indices, True)
            assert torch.equal(event.sparse.mask, largest.view(event.linear.shape))
    assert untouched == 6


@pytest.mark.parametrize(
    ("name", "method", "together"),
    [
        *((name, ADMM_TAUGHT, None) for name in MIXTURES),
        *((name, SHORT_ADMM, one) for name in ("mixtral", "gpt_oss") for one in (BLOCK, SUBMODULE)),
    ],
)
def test_every_method_prunes_every_expert_two_of_four(
    name: str, method: SDSAdmm, together: Reconstruction | None
) -> None:
    model = build_any(name, num_hidden_layers=2)
    structure = find_blocks(model)
    recipe = make_recipe(method, reconstruction=together)
    for _ in run_phase("fused", structure, texts(4, 24), recipe, CPU, Results(), held_out=1):
        pass
    for block in structure.blocks:
        for linear in block.linears:
            kept = (linear.weight != 0).view(linear.shape[0], -1, 4).sum(-1)
            assert (kept == 2).all(), linear.name
    assert plain_logits(model, texts()).isfinite().all()


@pytest.mark.parametrize("window", get_args(Window))
def test_adjusting_a_block_moves_its_experts_towards_the_target(window: Window) -> None:
    structure = find_blocks(build_any("gpt_oss"))
    stream, block = capture(structure, texts(6), CPU), structure.blocks[0]
    dense, given = {linear.label: linear.read() for linear in block.linears}, {}
    for linear in block.linears:
        halve(linear)
        given[linear.label] = Pruned(linear.read(), linear.weight != 0)
    found, change = adjust_block(stream, block, dense, given, Reconstruction(window, epochs=3), held_out=2)
    assert change.kept
    experts = expert_labels(structure, 0)
    assert len(experts) == 8 and not any(torch.equal(found[x].weight, given[x].weight) for x in experts)


def test_excluded_expert_stays_dense_and_its_siblings_do_not() -> None:
    structure = exclude_layers(find_blocks(build_any("mixtral")), ["*.experts.2.*"])
    labels = expert_labels(structure, 1)
    assert len(labels) == 6 and not any(".2." in label for label in labels)
    assert "model.layers.1.mlp.experts.2.down_proj" in structure.excluded


class Banked(nn.Module):
    """Behind an MLP, a bank of matrices whose slices are added up before they multiply anything."""

    def __init__(self, mlp: nn.Module):
        super().__init__()
        self.mlp, self.bank = mlp, nn.Parameter(torch.randn(3, 32, 32))

    def forward(self, hidden: Tensor) -> Tensor:
        return self.mlp(hidden) @ self.bank.sum(0)


def test_unused_stacked_parameter_is_excluded_with_the_reason() -> None:
    model = build_any("llama")
    for layer in model.model.layers:
        layer.mlp = Banked(layer.mlp)
    structure = find_blocks(model)
    banks = {f"model.layers.{i}.mlp.bank" for i in range(3)}
    assert structure.excluded == dict.fromkeys(banks, "no product of tokens with its slices was seen")
    assert structure.prunable == structure.matrices - 3 * 3 * 32 * 32


def test_products_are_reported_as_outputs_by_inputs() -> None:
    weight, tokens = torch.randn(3, 4), torch.randn(5, 4)
    stack, batches = torch.randn(2, 4, 3), torch.randn(2, 5, 4)
    batches[0, 1] = 0
    seen: list[tuple[Tensor, Tensor]] = []
    with watching_products(lambda matrix, inputs: seen.append((matrix, inputs))):
        nn.functional.linear(tokens, weight)
        tokens @ weight.T
        weight @ tokens.T
        torch.bmm(batches, stack)
    for place in (0, 1, 4):
        assert torch.equal(seen[place][0], weight) and torch.equal(seen[place][1], tokens)
    assert torch.equal(seen[5][0], stack[0].T) and torch.equal(seen[5][1], batches[0, [0, 2, 3, 4]])
    assert torch.equal(seen[6][0], stack[1].T) and torch.equal(seen[6][1], batches[1])


def test_experts_on_disk_are_found_and_observed_alike(tmp_path: Path, tiny_folder: Path) -> None:
    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    build_any("gpt_oss", vocab_size=288).save_pretrained(folder)
    seen = []
    for weights in ("memory", "disk"):
        loaded = load_model(str(folder), weights=weights)
        structure = find_blocks(loaded.model, loaded.store)
        seen.append(observe(capture(structure, texts(3), CPU))[0])
        assert len(expert_labels(structure, 1)) == 8 and loaded.store.kind == weights
    assert seen[0].keys() == seen[1].keys()
    assert all(torch.equal(one.gram.matrix, seen[1][label].gram.matrix) for label, one in seen[0].items())


def test_only_one_solved_expert_stays_in_memory() -> None:
    solved = list[weakref.ref]()
    for event in run_phase(
        "fused", find_blocks(build_any("mixtral")), texts(4), make_recipe(ADMM_TAUGHT), CPU, Results()
    ):
        if isinstance(event, LayerResult) and event.linear.expert is not None:
            solved.append(weakref.ref(event.problem.gram))
        del event
        assert sum(one() is not None for one in solved) <= 1
    assert len(solved) == 24
