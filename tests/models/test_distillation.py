"""Distillation of a whole model: loss and first step against plain autograd, masks that stay, going on, refusals."""

import copy
import math

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from sds_core.errors import SDSError
from sds_core.models import distillation
from sds_core.models.distillation import Distiller, memory_needed, pieces, require_memory
from sds_core.models.linear import Linear
from sds_core.models.structure import ModelStructure, find_blocks
from sds_core.pruning.layer_problem import Pruned
from sds_core.pruning.pattern import NM
from sds_core.pruning.reconstruction import Distillation
from tests.models.families import build, texts
from tests.models.test_experts import build_any

CPU = torch.device("cpu")
WINDOWS, HELD_OUT = texts(3, 20, seed=7), texts(2, 20, seed=8)


def two_of_four(linear: Linear) -> Pruned:
    weight = linear.read()
    mask = NM(2, 4).mask(weight.abs(), "row")
    return Pruned(weight * mask, mask)


def distiller(structure: ModelStructure, epochs: int = 2, rate: float = 0.02, **changes) -> Distiller:
    given = {linear: two_of_four(linear) for block in structure.blocks for linear in block.linears}
    plan = Distillation(epochs=epochs, windows=3, rate=rate)
    return Distiller(structure, given.__getitem__, WINDOWS, HELD_OUT, plan, CPU, **changes)


def to_the_end(one: Distiller, until: int = 10**9) -> list[distillation.Step]:
    found = []
    with one.on_device():
        if one.step == 0:
            found.append(one.begin())
        while one.step < min(one.steps, until):
            found.append(one.advance())
    return found


def pruned_copy(model: PreTrainedModel) -> tuple[PreTrainedModel, dict[str, Tensor]]:
    """The same model with its prunable weights pruned, and their masks as stored, by name of the parameter."""
    student = copy.deepcopy(model)
    masks: dict[str, Tensor] = {}
    for block in find_blocks(student).blocks:
        for linear in block.linears:
            given = two_of_four(linear)
            linear.write(given.weight)
            stored = masks.setdefault(linear.parameter_name, torch.zeros_like(linear.parameter, dtype=torch.bool))
            linear.view(stored).copy_(given.mask)
    return student, masks


def divergence(teacher: PreTrainedModel, student: PreTrainedModel, window: Tensor) -> Tensor:
    """Σ p (log p − log q), the mean over tokens."""
    with torch.no_grad():
        p = teacher(window[None], use_cache=False).logits[0].double().softmax(-1)
    q = student(window[None], use_cache=False).logits[0].double().softmax(-1)
    return (p * (p.log() - q.log())).sum(-1).mean()


def first_window() -> Tensor:
    return WINDOWS[int(torch.randperm(3, generator=torch.Generator().manual_seed(0))[0])]


@pytest.mark.parametrize("name", ["llama", "gpt2", "opt", "mixtral"])
def test_the_first_step_is_adams_on_the_divergence(name: str) -> None:
    model = build_any(name) if name == "mixtral" else build(name)
    student, masks = pruned_copy(model)
    one = distiller(find_blocks(model))
    with one.on_device():
        begun, step = one.begin(), one.advance()
    assert begun.held_out == pytest.approx(sum(divergence(model, student, w).item() for w in HELD_OUT) / 2, rel=1e-4)
    loss = divergence(model, student, first_window())
    assert step.loss == pytest.approx(loss.item(), rel=1e-4)
    loss.backward()
    state = one.state()
    for key, mask in masks.items():
        parameter = student.get_parameter(key)
        assert parameter.grad is not None
        gradient, weight = parameter.grad * mask, parameter.detach()
        size = float((weight[mask] ** 2).mean() ** 0.5)
        clear = gradient.abs() > 1e-6  # elsewhere rounding decides the sign
        moved = state[f"{key}.weight"] - weight
        length = 0.02 * size / (0.1 * 6 + 1)  # the first of 6 steps, of which a tenth warm up
        assert torch.allclose(moved[clear], -length * gradient.sign()[clear], rtol=0.05, atol=1e-7)
        assert (moved[~mask] == 0).all() and clear.any()


def test_all_steps_are_adams_with_a_rate_that_rises_and_falls() -> None:
    model = build("llama")
    student, masks = pruned_copy(model)
    parameters = {key: student.get_parameter(key) for key in masks}
    sizes = [float((parameters[key].detach()[mask] ** 2).mean() ** 0.5) for key, mask in masks.items()]
    adam = torch.optim.Adam([{"params": [one]} for one in parameters.values()], betas=(0.9, 0.95))
    losses = []
    for k in range(6):
        order = torch.randperm(3, generator=torch.Generator().manual_seed(k // 3))
        loss = divergence(model, student, WINDOWS[int(order[k % 3])])
        losses.append(loss.item())
        adam.zero_grad()
        loss.backward()
        for (key, one), size, group in zip(parameters.items(), sizes, adam.param_groups, strict=True):
            one.grad *= masks[key]
            group["lr"] = 0.02 * size * 0.5 * (1 + math.cos(math.pi * k / 6)) * min(1, (k + 1) / 1.6)
        adam.step()
    made = distiller(find_blocks(model))
    assert [step.loss for step in to_the_end(made)[1:]] == pytest.approx(losses, rel=1e-3)
    state = made.state()
    for (key, one), size in zip(parameters.items(), sizes, strict=True):
        off = (state[f"{key}.weight"] - one.detach()).abs()
        assert off.mean() < 1e-4 * size and off.max() < 0.02 * size, key


def test_long_windows_are_cut_into_equal_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [pieces(length) for length in (20, 256, 511, 512, 1000)] == [(1, 20), (1, 256), (1, 511), (2, 256), (3, 333)]
    monkeypatch.setattr(distillation, "PIECE", 6)
    model = build("llama")
    one = distiller(find_blocks(model))
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    window, place = divmod(int(order[0]), 3)
    with one.on_device():
        one.begin()
        step = one.advance()
    student, _ = pruned_copy(model)
    loss = divergence(model, student, WINDOWS[window, 6 * place : 6 * place + 6])
    assert one.steps == 2 * 9 and step.loss == pytest.approx(loss.item(), rel=1e-4)


def test_divergence_falls_along_its_gradient_as_finite_differences_say() -> None:
    model = build("llama").double()
    student, masks = pruned_copy(model)
    key = "model.layers.1.mlp.up_proj.weight"
    divergence(model, student, first_window()).backward()
    parameter = student.get_parameter(key)
    assert parameter.grad is not None
    row, column = divmod(int((parameter.grad * masks[key]).abs().argmax()), parameter.shape[1])
    found = []
    for change in (1e-2, -1e-2):
        other = copy.deepcopy(student)
        other.get_parameter(key).data[row, column] += change
        found.append(divergence(model, other, first_window()).item())
    assert (found[0] - found[1]) / 2e-2 == pytest.approx(float(parameter.grad[row, column]), rel=0.01)


@pytest.mark.parametrize("name", ["llama", "gpt2", "mixtral"])
def test_masks_stay_and_the_model_itself_does_not_change(name: str) -> None:
    model = build_any(name) if name == "mixtral" else build(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    structure = find_blocks(model)
    one = distiller(structure)
    curve = to_the_end(one)
    assert [step.number for step in curve] == list(range(7)) and all(step.held_out is not None for step in curve)
    assert one.best < one.before and one.best_at > 0
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())
    for block in structure.blocks:
        for linear in block.linears:
            given, found = two_of_four(linear), one.result(linear)
            assert torch.equal(found.mask, given.mask) and (found.weight[~given.mask] == 0).all()
            assert not torch.equal(found.weight, given.weight)


def test_kept_weights_measure_as_recorded() -> None:
    model = build("llama")
    structure = find_blocks(model)
    one = distiller(structure)
    to_the_end(one)
    student = copy.deepcopy(model)
    for block in find_blocks(student).blocks:
        for linear in block.linears:
            mine = next(x for b in structure.blocks for x in b.linears if x.name == linear.name)
            linear.write(one.result(mine).weight)
    assert one.best == pytest.approx(sum(divergence(model, student, w).item() for w in HELD_OUT) / 2, rel=1e-4)


def test_weights_stay_if_held_out_error_does_not_fall() -> None:
    structure = find_blocks(build("llama"))
    one = distiller(structure, rate=30.0)
    to_the_end(one)
    assert one.best_at == 0 and one.best == one.before
    for linear in structure.blocks[0].linears:
        assert torch.equal(one.result(linear).weight, two_of_four(linear).weight)


def test_earlier_point_is_kept_where_later_ones_are_worse(monkeypatch: pytest.MonkeyPatch) -> None:
    one = distiller(find_blocks(build("llama")))
    divergences = iter([5.0, 4.0, 3.0, 3.5, 3.2, math.nan, 3.1])
    monkeypatch.setattr(one, "_judge", lambda: next(divergences))
    linear = one._structure.blocks[0].linears[0]
    to_the_end(one, until=2)
    kept = one.state()[f"{linear.parameter_name}.weight"].clone()
    to_the_end(one)
    assert (one.best_at, one.best, one.before) == (2, 3.0, 5.0)
    assert torch.equal(one.result(linear).weight, kept)
    again = distiller(one._structure)
    again.load(one.state())
    assert (again.best_at, again.best) == (2, 3.0) and torch.equal(again.result(linear).weight, kept)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("done", [0, 1, 3, 6])
def test_resumes_to_the_same_bits(done: int, dtype: torch.dtype) -> None:
    structure = find_blocks(build("llama").to(dtype))
    straight = distiller(structure)
    whole = to_the_end(straight)
    begun = distiller(structure)
    to_the_end(begun, until=done)
    resumed = distiller(structure)
    resumed.load({key: value.clone() for key, value in begun.state().items()})
    rest = to_the_end(resumed)
    assert rest == (whole[done + 1 :] if done else whole)
    one, two = straight.state(), resumed.state()
    assert one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)
    for linear in structure.blocks[2].linears:
        assert torch.equal(straight.result(linear).weight, resumed.result(linear).weight)


def test_products_in_bfloat16_lead_the_same_way() -> None:
    structure = find_blocks(build("llama"))
    plain, half = (distiller(structure, autocast=dtype) for dtype in (None, torch.bfloat16))
    one, two = to_the_end(plain), to_the_end(half)
    assert two[0].held_out != one[0].held_out
    assert two[0].held_out == pytest.approx(one[0].held_out, rel=0.05)
    assert two[-1].held_out == pytest.approx(one[-1].held_out, rel=0.2) and half.best < half.before


def test_too_little_memory_is_refused_with_what_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    structure = find_blocks(build("llama"))
    needed = memory_needed(structure, 1000, CPU)
    blocks = 3 * (2 * (32 + 32) + 2 * (16 + 32) + 3 * (32 + 48))  # inputs and outputs of a token in all layers
    prunable = 3 * (2 * 32 * 32 + 2 * 16 * 32 + 3 * 32 * 48)
    expected = 27 * prunable + 4 * 333 * blocks + 4 * 4 * 1000 * 96  # pieces of 333 tokens; logits of 96 words
    assert needed == expected
    others = 2 * 96 * 32 + 7 * 32  # embeddings, head, and norms
    assert memory_needed(structure, 1000, torch.device("cuda")) == expected + 4 * (prunable + others)
    monkeypatch.setattr(distillation, "available_memory", lambda device: needed - 1)
    with pytest.raises(SDSError, match=rf"distilling needs {needed / 1e9:.1f} GB of memory.*--reconstruct"):
        require_memory(structure, 1000, CPU)
    monkeypatch.setattr(distillation, "available_memory", lambda device: needed)
    require_memory(structure, 1000, CPU)
    structure.store.kind = "disk"
    with pytest.raises(SDSError, match="rest on disk"):
        require_memory(structure, 1000, CPU)


def test_a_step_that_overflows_is_left_out_and_has_no_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    one = distiller(find_blocks(build("llama")))
    with one.on_device():
        one.begin()
        before = one.state()
        with monkeypatch.context() as patched:
            patched.setattr(distillation, "divergence", lambda made, wanted: made.sum() * math.inf)
            step = one.advance()
    assert step == distillation.Step(1, None, None)
    assert all(torch.equal(before[name], after) for name, after in one.state().items() if name != "numbers")


def test_logits_that_are_not_finite_are_refused() -> None:
    model = build("llama")
    one = distiller(find_blocks(model))
    model.model.norm.weight.data[:] = math.inf
    with pytest.raises(SDSError, match="not finite"):
        to_the_end(one)
