"""Experts that are modules in a list are layers, also those that the short text of the probe does not reach."""

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.models.llama.modeling_llama import LlamaMLP

from sds_core.models.block_reconstruction import adjust_block
from sds_core.models.distillation import Distiller
from sds_core.models.exclude import exclude_layers
from sds_core.models.linear import Linear
from sds_core.models.observation import observe, observe_groups
from sds_core.models.stream import capture
from sds_core.models.structure import find_blocks
from sds_core.pruning.layer_problem import Pruned
from sds_core.pruning.reconstruction import Distillation, Reconstruction
from sds_core.sds import run_phase
from tests.models.families import build, plain_logits, randomised, texts
from tests.models.test_stream import CPU, replayed
from tests.passes import ADMM_TAUGHT, Results, make_recipe

EXPERTS = 16
PARTS = ("gate_proj", "up_proj", "down_proj")


class Routed(nn.Module):
    """Experts in a list, each the whole MLP of a llama; each token goes to one of them. One linear is never called."""

    def __init__(self, mlps: list[nn.Module], call_all: bool):
        super().__init__()
        self.router, self.experts = nn.Linear(32, EXPERTS, bias=False), nn.ModuleList(mlps)
        self.unused, self.call_all = nn.Linear(32, 32), call_all

    def forward(self, hidden: Tensor) -> Tensor:
        chosen, found = self.router(hidden).argmax(-1), torch.zeros_like(hidden)
        for number, expert in enumerate(self.experts):
            own = chosen == number
            if self.call_all or own.any():
                found[own] = expert(hidden[own])
        return found


def routed(call_all: bool = False) -> PreTrainedModel:
    """A llama of three blocks whose MLPs are lists of experts."""
    model = build("llama")
    for layer in model.model.layers:
        layer.mlp = Routed([LlamaMLP(model.config) for _ in range(EXPERTS)], call_all)
    return randomised(model)


def inputs_of_experts(model: PreTrainedModel, windows: Tensor, block: int) -> dict[str, Tensor]:
    """What each expert's linears receive, by label as X (N, C) in float64, without those that receive nothing."""
    seen: dict[str, list[Tensor]] = {}
    handles = []
    for name, module in model.model.layers[block].named_modules():
        if ".experts." in name and isinstance(module, nn.Linear):
            note = lambda _, args, name=name: seen.setdefault(name, []).append(args[0].double())
            handles.append(module.register_forward_pre_hook(note))
    plain_logits(model, windows)
    for handle in handles:
        handle.remove()
    joined = {name: torch.cat(parts) for name, parts in seen.items()}
    return {name: inputs for name, inputs in joined.items() if len(inputs)}


@pytest.mark.parametrize("call_all", [False, True])
def test_experts_without_tokens_in_the_probe_are_layers(call_all: bool) -> None:
    model = routed(call_all)
    probing = torch.arange(8).expand(2, -1).clone()
    probing[1, -1] += 1
    structure = find_blocks(model)
    for block in structure.blocks:
        assert len(inputs_of_experts(model, probing, block.index)) < 3 * EXPERTS
        experts = {linear.label: linear for linear in block.linears if linear.routed}
        assert set(experts) == {f"mlp.experts.{e}.{part}" for e in range(EXPERTS) for part in PARTS}
        for label, linear in experts.items():
            assert linear.module is block.module.get_submodule(label)
            assert linear.name == f"{block.name}.{label}"
            assert linear.input == label.replace("up_proj", "gate_proj"), "only gate and up share an input"
        assert [len(group) for group in block.groups] == [3, 1, 2 * EXPERTS, EXPERTS]
    reasons = {"unused": "it is never called", "router": "it is a router: its outputs decide a choice"}
    assert structure.excluded == {f"model.layers.{i}.mlp.{x}": why for i in range(3) for x, why in reasons.items()}


def test_gram_matrices_of_expert_modules_are_of_the_routed_tokens() -> None:
    model, windows = routed(), texts(6, 24)
    stream = capture(find_blocks(model), windows, CPU)
    whole, _ = observe(stream)
    inputs = inputs_of_experts(model, windows, 0)
    resting = 0
    for expert in range(EXPERTS):
        for part in ("gate_proj", "down_proj"):
            one = whole[f"mlp.experts.{expert}.{part}"]
            x = inputs.get(f"mlp.experts.{expert}.{part}")
            if x is None:
                resting += 1
                assert one.scarcity == "no tokens"
                continue
            expected, share = x.T @ x / len(x), len(x) / x.shape[1]
            if share < 1:
                expected = share * expected + (1 - share) * expected.diagonal().diag()
            torch.testing.assert_close(one.gram.matrix.double(), expected, rtol=1e-4, atol=1e-5)
    assert resting < EXPERTS
    groups = {
        label: one
        for _, seen in observe_groups(stream, stream.structure.blocks[0].groups)
        for label, one in seen.items()
    }
    assert groups.keys() == whole.keys()
    assert all(torch.equal(one.gram.matrix, groups[label].gram.matrix) for label, one in whole.items())


@pytest.mark.parametrize("call_all", [False, True])
def test_expert_modules_are_pruned_and_replay_exactly(call_all: bool) -> None:
    model, windows = routed(call_all), texts(4, 24)
    structure = find_blocks(model)
    for _ in run_phase("fused", structure, windows, make_recipe(ADMM_TAUGHT), CPU, Results(), held_out=1):
        pass
    for block in structure.blocks:
        for linear in block.linears:
            assert (linear.weight != 0).view(linear.shape[0], -1, 4).sum(-1).max() == 2, linear.name
    assert torch.equal(replayed(capture(structure, windows, CPU), windows), plain_logits(model, windows))


def halved(linear: Linear) -> Pruned:
    """Every other column."""
    mask = torch.zeros(linear.shape, dtype=torch.bool)
    mask[:, ::2] = True
    return Pruned(linear.read() * mask, mask)


def test_windows_that_do_not_reach_the_only_layer_teach_nothing() -> None:
    model, windows = routed(), texts(6, 4)
    every = find_blocks(model)
    reached = [inputs_of_experts(model, window[None], 0).keys() for window in windows]
    label = next(label for label in sorted(set().union(*reached)) if not all(label in one for one in reached))
    names = [linear.name for block in every.blocks for linear in block.linears]
    structure = exclude_layers(every, [name for name in names if name != f"model.layers.0.{label}"])
    (linear,) = structure.blocks[0].linears
    pruned = {linear.label: halved(linear)}
    stream, dense = capture(structure, windows, CPU), {linear.label: linear.weight.clone()}
    found, change = adjust_block(stream, structure.blocks[0], dense, pruned, Reconstruction("block"))
    assert change.kept and not torch.equal(found[linear.label].weight, pruned[linear.label].weight)
    distiller = Distiller(structure, halved, windows, windows[:1], Distillation(windows=6), CPU)
    with distiller.on_device():
        distiller.begin()
        steps = [distiller.advance() for _ in range(distiller.steps)]
    assert {step.loss == 0 for step in steps} == {True, False}
