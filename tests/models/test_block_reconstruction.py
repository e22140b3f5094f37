"""A block's layers adjusted together: its error against plain forward passes, masks that stay, every family."""

import math
from typing import NamedTuple

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from benchmarks.families import tiny
from sds_core.errors import SDSError
from sds_core.models.block_change import BlockChange
from sds_core.models.block_parts import Part, parts_of, target_outputs, teacher_part_outputs
from sds_core.models.block_reconstruction import adjust_block
from sds_core.models.linear import Linear
from sds_core.models.stream import capture
from sds_core.models.structure import Block, ModelStructure, find_blocks, hidden_of
from sds_core.pruning.layer_problem import Pruned
from sds_core.pruning.pattern import NM
from sds_core.pruning.reconstruction import Reconstruction
from tests.models.families import CASES, build, texts

CPU = torch.device("cpu")
WINDOWS = texts(4, 20, seed=7)
BLOCK = Reconstruction("block", epochs=3)


def two_of_four(linear: Linear) -> Pruned:
    """The two largest weights of every four, written into the model."""
    weight = linear.read()
    mask = NM(2, 4).mask(weight.abs(), "row")
    linear.write(weight * mask)
    return Pruned(weight * mask, mask)


class Passed(NamedTuple):
    """What a block receives and returns, window by window."""

    before: list[Tensor]
    after: list[Tensor]


def passed(model: PreTrainedModel, structure: ModelStructure, block: int) -> Passed:
    """Hidden states at a block in plain forward passes of the model."""
    found = Passed([], [])

    def note(module: object, args: tuple, kwargs: dict, result: object) -> None:
        slot = structure.slot
        found.before.append(args[slot] if isinstance(slot, int) and len(args) > slot else kwargs["hidden_states"])
        found.after.append(hidden_of(result))

    handle = structure.blocks[block].module.register_forward_hook(note, with_kwargs=True)
    with torch.no_grad():
        for window in WINDOWS:
            model(window[None], use_cache=False)
    handle.remove()
    return found


class Case(NamedTuple):
    """The second block adjusted, behind a first one that was pruned."""

    given: dict[str, Pruned]
    found: dict[str, Pruned]
    change: BlockChange
    targets: list[Tensor]
    """What the whole dense block makes of the same inputs."""
    made: list[Tensor]
    """What the block returns with the weights that were found, in plain forward passes."""


def adjusted(
    name: str,
    attention: str = "sdpa",
    *,
    beta: float = 0.0,
    plan: Reconstruction = BLOCK,
    held_out: int = 0,
    dense: float = 1.0,
) -> Case:
    """`dense` is a factor on the dense weights of the second block, and so on what is targets."""
    model = build(name, attention)
    structure = find_blocks(model)
    stream = capture(structure, WINDOWS, CPU)
    teacher = stream.fork() if beta else None
    if teacher:
        teacher.advance()
    for linear in structure.blocks[0].linears:
        two_of_four(linear)
    stream.advance()
    block = structure.blocks[1]
    parts = parts_of(block, plan.window, stream)
    taught = teacher_part_outputs(teacher, block.module, parts) if teacher else None
    weights = {linear.label: dense * linear.read() for linear in block.linears}
    own = {linear: weights[linear.label] for linear in block.linears}
    (whole,) = parts_of(block, "block", stream)
    targets = list(target_outputs(stream, block, whole, own, taught[0] if taught else None, beta))
    given = {linear.label: two_of_four(linear) for linear in block.linears}
    found, change = adjust_block(
        stream, block, weights, given, plan, teacher_outputs=taught, beta=beta, held_out=held_out
    )
    for linear in block.linears:
        assert torch.equal(linear.read(), given[linear.label].weight)  # whoever asked writes
        linear.write(found[linear.label].weight)
    return Case(given, found, change, targets, passed(model, structure, 1).after)


def error(made: list[Tensor], targets: list[Tensor]) -> float:
    """Mean over tokens of the squared distance, relative to the squared length of what is targets."""
    tokens = [
        float((a - b).square().sum() / b.square().sum())
        for one, other in zip(made, targets, strict=True)
        for a, b in zip(one[0].double(), other[0].double(), strict=True)
    ]
    return sum(tokens) / len(tokens)


@pytest.mark.parametrize(("name", "attention"), CASES)
def test_adjusted_block_is_closer_to_its_dense_output(name: str, attention: str) -> None:
    case = adjusted(name, attention)
    assert case.change.after < case.change.before
    assert error(case.made, case.targets) == pytest.approx(case.change.after, rel=1e-4)
    for label, given in case.given.items():
        found = case.found[label]
        assert torch.equal(found.mask, given.mask)
        assert (found.weight[~found.mask] == 0).all() and not torch.equal(found.weight, given.weight)


@pytest.mark.parametrize("beta", [0.0, 0.3])
def test_target_mixes_outputs_on_both_streams(beta: float) -> None:
    case = adjusted("llama", beta=beta)
    dense = build("llama", "sdpa")
    taught = passed(dense, find_blocks(dense), 1)
    mixed = build("llama", "sdpa")
    structure = find_blocks(mixed)
    for linear in structure.blocks[0].linears:
        two_of_four(linear)
    own = passed(mixed, structure, 1)
    for targets, mine, start, its, began in zip(
        case.targets, own.after, own.before, taught.after, taught.before, strict=True
    ):
        increments = (mine - start, its - began)
        assert (increments[0] - increments[1]).abs().max() > 1e-2
        assert torch.allclose(targets, start + (1 - beta) * increments[0] + beta * increments[1], atol=1e-5)


def test_held_out_windows_judge_and_do_not_train(monkeypatch: pytest.MonkeyPatch) -> None:
    case, seen = adjusted("llama", held_out=1), adjusted("llama")
    assert error(case.made[3:], case.targets[3:]) == pytest.approx(case.change.after, rel=1e-4)
    assert any(not torch.equal(case.found[label].weight, seen.found[label].weight) for label in case.found)
    monkeypatch.setattr("tests.models.test_block_reconstruction.WINDOWS", torch.cat([WINDOWS[:3], WINDOWS[:1]]))
    other = adjusted("llama", held_out=1)
    assert other.change.kept and other.change.before != case.change.before
    assert all(torch.equal(case.found[label].weight, other.found[label].weight) for label in case.found)


def test_one_step_is_adams_first_on_the_gradient_of_the_error() -> None:
    """Which is as long for every weight: the rate times the size of the layer's kept weights."""
    model = build("llama")
    structure = find_blocks(model)
    stream, block = capture(structure, WINDOWS[:1], CPU), structure.blocks[0]
    dense = {linear.label: linear.read() for linear in block.linears}
    target = stream.replay(0)
    given = {linear.label: two_of_four(linear) for linear in block.linears}
    plan = Reconstruction("block", epochs=1, rate=0.001)
    found, change = adjust_block(stream, block, dense, given, plan)
    assert change.kept
    args, settings = stream.arguments(0)
    made = hidden_of(block.module(*args, **settings))
    ((made - target).square().sum(-1) / target.square().sum(-1)).mean().backward()
    for linear in block.linears:
        weight, mask = given[linear.label].weight, given[linear.label].mask
        gradient = linear.parameter.grad * mask
        clear = gradient.abs() > 1e-5 * gradient.abs().max()
        length = 0.001 * float((weight[mask] ** 2).mean() ** 0.5)
        moved = found[linear.label].weight - weight
        assert clear.sum() > 0.9 * mask.sum() and (moved[~mask] == 0).all()
        assert torch.allclose(moved[clear], -length * gradient.sign()[clear], rtol=1e-2, atol=1e-6)


def test_every_window_is_stepped_on_in_every_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    steps, step = [], torch.optim.Adam.step
    monkeypatch.setattr(torch.optim.Adam, "step", lambda *args: steps.append(step(*args)))
    adjusted("llama", plan=Reconstruction("block", epochs=3), held_out=1)
    assert len(steps) == 3 * 3


def test_block_is_unchanged_if_adjusting_is_worse() -> None:
    case = adjusted("llama", plan=Reconstruction("block", epochs=1, rate=100.0), held_out=1)
    assert not case.change.kept and case.change.after > case.change.before
    assert all(torch.equal(case.found[label].weight, given.weight) for label, given in case.given.items())


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
def test_block_is_unchanged_if_steps_diverge(monkeypatch: pytest.MonkeyPatch) -> None:
    diverging = Reconstruction("block", epochs=1, rate=1e30)
    case = adjusted("llama", plan=diverging)
    assert not case.change.kept and math.isfinite(case.change.after)
    monkeypatch.setattr(
        "sds_core.models.block_reconstruction.LOSS_SCALE", math.inf
    )  # no gradient is finite: no step is made
    case = adjusted("llama", plan=diverging)
    assert case.change.after == case.change.before


def test_a_block_whose_outputs_are_not_finite_is_refused() -> None:
    with pytest.raises(SDSError, match=r"model.layers.1 are not finite.*--reconstruct matrix"):
        adjusted("llama", dense=math.inf)


def test_the_same_again_gives_the_same_bits() -> None:
    one, two = adjusted("llama"), adjusted("llama")
    assert all(torch.equal(one.found[label].weight, two.found[label].weight) for label in one.found)


def test_gradients_can_be_asked_for_afterwards_as_before() -> None:
    model = build("llama")
    structure = find_blocks(model)
    structure.blocks[0].linears[0].module.weight.requires_grad_(False)
    asked = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    stream = capture(structure, WINDOWS, CPU)
    block = structure.blocks[0]
    dense = {linear.label: linear.read() for linear in block.linears}
    given = {linear.label: two_of_four(linear) for linear in block.linears}
    adjust_block(stream, block, dense, given, Reconstruction("block", epochs=1))
    assert {name: parameter.requires_grad for name, parameter in model.named_parameters()} == asked


def submodules(model: PreTrainedModel) -> tuple[list[Part], Block]:
    structure = find_blocks(model)
    block = structure.blocks[0]
    return parts_of(block, "submodule", capture(structure, WINDOWS, CPU)), block


@pytest.mark.parametrize(
    ("name", "groups"),
    [
        ("llama", [("self_attn", 4), ("mlp", 3)]),
        ("gpt2", [("attn", 2), ("mlp", 2)]),
        ("opt", [("self_attn", 4), ("", 2)]),
    ],
)
def test_submodules_are_what_stands_inside_the_block(name: str, groups: list[tuple[str, int]]) -> None:
    parts, block = submodules(build(name))
    assert [(part.module, len(part.linears)) for part in parts] == [
        (block.module.get_submodule(place), count) for place, count in groups
    ]


def test_modules_that_are_not_called_are_no_submodules() -> None:
    parts, block = submodules(tiny("longcat_flash", "eager"))  # two attentions and two MLPs in lists
    places = ("self_attn.0", "mlps.0", "self_attn.1", "mlps.1", "mlp")
    assert {part.module for part in parts} == {block.module.get_submodule(place) for place in places}
    parts, block = submodules(tiny("gemma3n_text", "eager"))  # one of its modules is not called, its methods are
    (whole,) = (part for part in parts if part.module is block.module)
    assert {"altup.prediction_coefs", "altup.correction_coefs"} <= {linear.label for linear in whole.linears}
    assert block.module.altup not in {part.module for part in parts}


def child_outputs(model: PreTrainedModel, module: torch.nn.Module) -> list[Tensor]:
    """What a module returns in plain forward passes of the model."""
    found: list[Tensor] = []
    handle = module.register_forward_hook(lambda module, args, result: found.append(hidden_of(result)))
    with torch.no_grad():
        for window in WINDOWS:
            model(window[None], use_cache=False)
    handle.remove()
    return found


@pytest.mark.parametrize("name", ["llama", "gpt2", "opt"])
def test_submodules_approach_their_dense_outputs_on_pruned_inputs(name: str) -> None:
    plan = Reconstruction("submodule", epochs=3)
    case = adjusted(name, plan=plan)
    assert case.change.kept
    model = build(name)
    structure = find_blocks(model)
    for linear in structure.blocks[0].linears:
        two_of_four(linear)
    stream = capture(structure, WINDOWS, CPU)
    stream.advance()
    parts = parts_of(structure.blocks[1], "submodule", stream)
    assert len(parts) == 2
    errors: dict[str, list[float]] = {"given": [], "found": []}
    for part in parts:  # the earlier part has become what was found, the later one is dense still
        dense = child_outputs(model, part.module)
        for weights, into in ((case.given, errors["given"]), (case.found, errors["found"])):
            for linear in part.linears:
                linear.write(weights[linear.label].weight)
            into.append(error(child_outputs(model, part.module), dense))
    if name != "opt":  # whose second part is the block itself, with the later layers not yet dense again
        assert sum(errors["given"]) / 2 == pytest.approx(case.change.before, rel=1e-3)
    assert sum(errors["found"]) / 2 == pytest.approx(case.change.after, rel=1e-3)
    for label, given in case.given.items():
        assert torch.equal(case.found[label].mask, given.mask)
        assert (case.found[label].weight[~given.mask] == 0).all()


def test_a_submodules_target_mixes_both_streams() -> None:
    model, dense = build("llama"), build("llama")
    structure = find_blocks(model)
    stream = capture(structure, WINDOWS, CPU)
    teacher = stream.fork()
    teacher.advance()
    for linear in structure.blocks[0].linears:
        two_of_four(linear)
    stream.advance()
    block = structure.blocks[1]
    parts = parts_of(block, "submodule", stream)
    taught = teacher_part_outputs(teacher, block.module, parts)
    mine = child_outputs(model, parts[1].module)
    its = child_outputs(dense, find_blocks(dense).blocks[1].module.get_submodule("mlp"))
    weights = {linear: linear.read() for linear in block.linears}
    for targets, own, other in zip(
        target_outputs(stream, block, parts[1], weights, taught[1], 0.3), mine, its, strict=True
    ):
        assert (own - other).abs().max() > 1e-3
        assert torch.allclose(targets, 0.7 * own + 0.3 * other, atol=1e-5)
