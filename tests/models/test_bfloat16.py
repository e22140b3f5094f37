"""Products in bfloat16: which are, that nothing else changes, and when they are taken."""

import pytest
import torch

from sds_core.models import bfloat16
from sds_core.models.bfloat16 import bfloat16_products, is_faster
from sds_core.models.observation import observe, observe_groups
from sds_core.models.stream import capture
from sds_core.models.structure import find_blocks
from tests.models.families import build, texts
from tests.models.test_stream import CPU


@pytest.mark.parametrize("name", ["llama", "gpt2", "opt"])
def test_a_linear_rounds_its_factors_and_nothing_else(name: str) -> None:
    block = find_blocks(build(name)).blocks[0]
    inputs = torch.randn(5, block.linears[0].shape[1], generator=torch.Generator().manual_seed(0))
    module = block.linears[0].module
    rounded = inputs.bfloat16().double() @ block.linears[0].weight.bfloat16().double().T
    bias = module.bias.double() if module.bias is not None else 0
    before = module(inputs)
    with bfloat16_products(block.module), bfloat16_products(block.module):
        found = module(inputs)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), rounded.bfloat16().double() + bias, rtol=2**-7, atol=1e-6)
    assert torch.equal(module(inputs), before) and not torch.equal(found, before)


def test_a_linear_that_returns_more_is_left_as_it_is() -> None:
    class Router(torch.nn.Linear):
        def forward(self, inputs):
            return super().forward(inputs), "scores"

    block = torch.nn.ModuleList([Router(4, 3), torch.nn.Linear(4, 3)])
    with bfloat16_products(block):
        assert ["forward" in vars(module) for module in block] == [False, True]
        assert block[0](torch.ones(1, 4))[1] == "scores"


def test_changed_weight_is_rounded_again() -> None:
    linear = find_blocks(build("llama")).blocks[0].linears[0]
    inputs = torch.ones(1, linear.shape[1])
    with bfloat16_products(linear.module):
        before = linear.module(inputs)
        linear.write(2 * linear.weight)
        assert torch.equal(linear.module(inputs), 2 * before)


def test_a_model_in_half_precision_is_left_as_it_is() -> None:
    block = find_blocks(build("llama").half()).blocks[0].module
    with bfloat16_products(block):
        assert not any("forward" in vars(module) for module in block.modules())


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_paused_and_repeated_forwards_agree_and_come_near_float32(name: str) -> None:
    structure = find_blocks(build(name))
    windows = texts(3)
    plain, _ = observe(capture(structure, windows, CPU))
    stream = capture(structure, windows, CPU, bfloat16=True)
    repeated, outputs = observe(stream)
    paused = {
        label: seen for _, found in observe_groups(stream, structure.blocks[0].groups) for label, seen in found.items()
    }
    assert paused.keys() == repeated.keys() == plain.keys()
    for label, seen in plain.items():
        assert torch.equal(paused[label].gram.matrix, repeated[label].gram.matrix)
        error = (seen.gram.matrix - repeated[label].gram.matrix).norm() / seen.gram.matrix.norm()
        assert error < 0.02
    assert all(torch.equal(mine, its) for mine, its in zip(outputs, stream.hidden, strict=True))
    assert not any("forward" in vars(module) for module in structure.blocks[0].module.modules())


def test_a_fork_of_a_stream_in_bfloat16_is_in_bfloat16_too() -> None:
    stream = capture(find_blocks(build("llama")), texts(3), CPU, bfloat16=True)
    teacher = stream.fork()
    stream.advance()
    teacher.advance()
    seen, _ = observe(stream, teacher)
    for one in seen.values():
        assert one.teacher_shift is not None
        assert one.teacher_shift.abs().max() < 1e-6 * one.gram.matrix.abs().max()


@pytest.mark.parametrize(("seconds", "expected"), [([2.0, 1.0], True), ([1.2, 1.0], False), ([1.0, 2.0], False)])
def test_it_is_faster_where_it_was_measured_once(
    seconds: list[float], expected: bool, monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    monkeypatch.setenv("SDS_CACHE", str(tmp_path))
    taken, made = iter(seconds), []

    def measured(compute, device):
        made.append(compute())
        return next(taken)

    monkeypatch.setattr(bfloat16, "_seconds", measured)
    assert is_faster(CPU) is expected
    assert is_faster(CPU) is expected  # another measurement would have no seconds left
    plain, rounded = made
    assert [torch.equal(one, one.bfloat16().float()) for one in made] == [False, True]
    torch.testing.assert_close(plain, rounded, rtol=0.02, atol=0.02)


def test_a_device_that_cannot_is_not_faster(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    def refuse(compute, device):
        raise RuntimeError("not implemented for bfloat16")

    monkeypatch.setenv("SDS_CACHE", str(tmp_path))
    monkeypatch.setattr(bfloat16, "_seconds", refuse)
    assert is_faster(CPU) is False


def test_the_measurement_takes_positive_times() -> None:
    assert bfloat16._speedup(CPU) > 0
