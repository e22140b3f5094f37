"""A block's layers adjusted together: its error against plain forward passes, masks that stay, every family."""

import math
from typing import NamedTuple

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from sds_core.errors import SDSError
from sds_core.models.block_reconstruction import BlockChange, adjust_block, wanted_outputs
from sds_core.models.linear import Linear
from sds_core.models.stream import capture
from sds_core.models.structure import ModelStructure, find_blocks, hidden_of
from sds_core.pruning.layer_problem import Pruned
from sds_core.pruning.pattern import NM
from tests.models.families import CASES, build, texts

CPU = torch.device("cpu")
WINDOWS = texts(4, 20, seed=7)


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
    wanted: list[Tensor]
    made: list[Tensor]
    """What the block returns with the weights that were found, in plain forward passes."""


def adjusted(
    name: str, attention: str = "sdpa", *, beta: float = 0.0, epochs: int = 3, held_out: int = 0, apart: float = 1.0
) -> Case:
    """`apart` is a factor on what is wanted of the last window."""
    model = build(name, attention)
    structure = find_blocks(model)
    stream = capture(structure, WINDOWS, CPU)
    teacher = stream.fork() if beta else None
    if teacher:
        teacher.advance()
    for linear in structure.blocks[0].linears:
        two_of_four(linear)
    stream.advance()
    wanted = list(wanted_outputs(stream, teacher, beta))
    wanted[-1] = apart * wanted[-1]
    block = structure.blocks[1]
    given = {linear.label: two_of_four(linear) for linear in block.linears}
    found, change = adjust_block(stream, block, given, wanted, epochs=epochs, held_out=held_out)
    for linear in block.linears:
        assert torch.equal(linear.read(), given[linear.label].weight)  # whoever asked writes
        linear.write(found[linear.label].weight)
    return Case(given, found, change, wanted, passed(model, structure, 1).after)


def error(made: list[Tensor], wanted: list[Tensor]) -> float:
    """Mean over tokens of the squared distance, relative to the squared length of what is wanted."""
    tokens = [
        float((a - b).square().sum() / b.square().sum())
        for one, other in zip(made, wanted, strict=True)
        for a, b in zip(one[0].double(), other[0].double(), strict=True)
    ]
    return sum(tokens) / len(tokens)


@pytest.mark.parametrize(("name", "attention"), CASES)
def test_adjusted_block_is_closer_to_its_dense_output(name: str, attention: str) -> None:
    case = adjusted(name, attention)
    assert case.change.after < case.change.before
    assert error(case.made, case.wanted) == pytest.approx(case.change.after, rel=1e-4)
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
    for wanted, mine, start, its, began in zip(
        case.wanted, own.after, own.before, taught.after, taught.before, strict=True
    ):
        increments = (mine - start, its - began)
        assert (increments[0] - increments[1]).abs().max() > 1e-2
        assert torch.allclose(wanted, start + (1 - beta) * increments[0] + beta * increments[1], atol=1e-5)


def test_held_out_windows_judge_and_do_not_train() -> None:
    case, other = adjusted("llama", held_out=1), adjusted("llama", held_out=1, apart=0.9)
    assert error(case.made[3:], case.wanted[3:]) == pytest.approx(case.change.after, rel=1e-4)
    assert other.change.kept and other.change.before != case.change.before
    assert all(torch.equal(case.found[label].weight, other.found[label].weight) for label in case.found)
    seen = adjusted("llama", apart=0.9)
    assert any(not torch.equal(case.found[label].weight, seen.found[label].weight) for label in case.found)


def test_block_is_unchanged_if_adjusting_is_worse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sds_core.models.block_reconstruction.RATE", 100.0)
    case = adjusted("llama", epochs=1, held_out=1)
    assert not case.change.kept and case.change.after > case.change.before
    assert all(torch.equal(case.found[label].weight, given.weight) for label, given in case.given.items())


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
def test_block_is_unchanged_if_steps_diverge(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sds_core.models.block_reconstruction.RATE", 1e30)
    case = adjusted("llama", epochs=1)
    assert not case.change.kept and math.isfinite(case.change.after)
    monkeypatch.setattr(
        "sds_core.models.block_reconstruction.LOUDER", math.inf
    )  # no gradient is finite: no step is made
    case = adjusted("llama", epochs=1)
    assert case.change.after == case.change.before


def test_a_block_whose_outputs_are_not_finite_is_refused() -> None:
    with pytest.raises(SDSError, match=r"model.layers.1 are not finite.*--block-epochs 0"):
        adjusted("llama", apart=math.inf)


def test_the_same_again_gives_the_same_bits() -> None:
    one, two = adjusted("llama"), adjusted("llama")
    assert all(torch.equal(one.found[label].weight, two.found[label].weight) for label in one.found)


def test_gradients_can_be_asked_for_afterwards_as_before() -> None:
    model = build("llama")
    structure = find_blocks(model)
    structure.blocks[0].linears[0].module.weight.requires_grad_(False)
    asked = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    stream = capture(structure, WINDOWS, CPU)
    wanted = wanted_outputs(stream, None, 0.0)
    given = {linear.label: two_of_four(linear) for linear in structure.blocks[0].linears}
    adjust_block(stream, structure.blocks[0], given, wanted, epochs=1, held_out=0)
    assert {name: parameter.requires_grad for name, parameter in model.named_parameters()} == asked
