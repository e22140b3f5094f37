"""Gram matrices of a block's inputs are those of plain forwards, whether forwards are repeated or paused."""

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from benchmarks.families import tiny
from sds_core.errors import SDSError
from sds_core.models import observation
from sds_core.models.device import pick_device
from sds_core.models.linear import Linear
from sds_core.models.logits import logits
from sds_core.models.observation import observe, observe_groups
from sds_core.models.paused_forwards import paused
from sds_core.models.stream import Stream, capture
from sds_core.models.structure import ModelStructure, find_blocks
from tests.models.families import FAMILIES, build, plain_inputs, plain_logits, texts
from tests.models.test_stream import CPU, halve


def heads(structure: ModelStructure, block: int) -> list[Linear]:
    return [linear for linear in structure.blocks[block].linears if linear.label == linear.input]


@pytest.mark.parametrize("name", ["llama", "gpt2", "opt", "gemma3_text", "falcon"])
def test_gram_matrices_equal_those_of_a_plain_forward(name: str) -> None:
    model = build(name)
    windows = texts(3)
    structure = find_blocks(model)
    stream = capture(structure, windows, CPU)
    for linear in structure.blocks[0].linears:
        halve(linear)
    stream.advance()
    inputs = plain_inputs(model, windows, [linear.name for linear in structure.blocks[1].linears])
    seen, outputs = observe(stream)
    assert set(seen) == {linear.label for linear in heads(structure, 1)}
    for linear in structure.blocks[1].linears:  # also of those that share their input with another
        x = inputs[linear.name]
        assert len(x) == windows.numel()
        expected = x.T @ x / len(x)
        gram = seen[linear.input].gram
        assert torch.allclose(gram.matrix.double(), expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
        assert torch.equal(gram.matrix, gram.matrix.T)
        assert seen[linear.input].teacher_shift is None

    assert stream.position == 1
    stream.move_on(outputs)
    for _ in structure.blocks[2:]:
        stream.advance()
    assert torch.equal(torch.stack(list(logits(stream, windows))), plain_logits(model, windows))


@pytest.mark.parametrize("name", ["llama", "gpt2", "deepseek_v4"])  # the last has several hidden states for each token
@pytest.mark.parametrize("stand_in", [False, True])
def test_the_teacher_shift_is_that_of_two_plain_forwards(name: str, stand_in: bool) -> None:
    dense_model = build(name) if name in FAMILIES else tiny(name, "eager")
    dense_model.set_experts_implementation("eager")
    model = copy.deepcopy(dense_model)
    windows = texts(3)
    structure = find_blocks(model)
    stream = capture(structure, windows, CPU)
    teacher = stream.fork()
    teacher.advance()
    for linear in structure.blocks[0].linears:
        halve(linear)
    stream.advance()
    dense_block = None
    if stand_in:  # the block itself has changed, too: the teacher must not see that
        dense_block = copy.deepcopy(structure.blocks[1].module)
        for linear in structure.blocks[1].linears:
            halve(linear)

    whole = [linear for linear in heads(structure, 1) if not linear.routed and linear.shape[1] < 512]
    names = [linear.name for linear in whole]
    x, dense = plain_inputs(model, windows, names), plain_inputs(dense_model, windows, names)
    seen, _ = observe(stream, teacher, dense_block, linears=whole)
    for linear in whole:
        xs, xd = x[linear.name], dense[linear.name]
        expected = (xd.T @ xs - xs.T @ xs) / len(xs)
        assert expected.abs().max() > 1e-3
        found = seen[linear.label].teacher_shift.double()
        assert torch.allclose(found, expected, rtol=0, atol=2e-5 * float((xs.T @ xs).abs().max() / len(xs)))

    assert stream.position == 1 and teacher.position == 2
    for _ in structure.blocks[2:]:
        teacher.advance()
    assert torch.equal(torch.stack(list(logits(teacher, windows))), plain_logits(dense_model, windows))


@pytest.mark.parametrize("with_teacher", [False, True])
def test_held_out_windows_have_separate_gram_matrices(with_teacher: bool) -> None:
    windows = texts(4)
    streams = [capture(find_blocks(build("llama")), part, CPU) for part in (windows, windows[:3], windows[3:])]
    both, seen, unseen = (
        observe(stream, stream.fork() if with_teacher else None, held_out=count)[0]
        for stream, count in zip(streams, (1, 0, 0), strict=True)
    )
    for label, observed in both.items():
        assert torch.equal(observed.gram.matrix, seen[label].gram.matrix)
        assert torch.equal(observed.held_out.matrix, unseen[label].gram.matrix)
        assert (observed.teacher_shift is not None) == with_teacher and seen[label].held_out is None


@pytest.mark.parametrize("name", ["llama", "gptj"])
@pytest.mark.parametrize("with_teacher", [False, True])
def test_stopped_replay_observes_the_same_inputs(name: str, with_teacher: bool) -> None:
    structure = find_blocks(build(name))
    stream = capture(structure, texts(3), CPU)
    teacher = stream.fork() if with_teacher else None
    for group in structure.blocks[0].groups:
        seen, outputs = observe(stream, teacher, None, 1, group, run_to_end=False)
        whole, _ = observe(stream, stream.fork() if with_teacher else None, None, 1)
        assert list(seen) == [group[0].label] and outputs == []
        mine, its = seen[group[0].label], whole[group[0].label]
        assert torch.equal(mine.gram.matrix, its.gram.matrix)
        assert torch.equal(mine.held_out.matrix, its.held_out.matrix)
        assert torch.equal(mine.teacher_shift, its.teacher_shift) if with_teacher else mine.teacher_shift is None
    assert stream.position == 0 and (teacher is None or teacher.position == 0)


def test_stopped_replay_skips_the_rest() -> None:
    structure = find_blocks(build("llama"))
    stream = capture(structure, texts(2), CPU)
    called = []
    structure.blocks[0].module.mlp.down_proj.register_forward_hook(lambda *_: called.append("down"))
    groups = structure.blocks[0].groups
    assert [[linear.label for linear in group] for group in groups] == [list(g) for g in FAMILIES["llama"].groups]
    observe(stream, linears=groups[2], run_to_end=False)
    assert not called
    observe(stream, linears=groups[2])
    assert called == ["down"] * 2


@pytest.mark.gpu
@pytest.mark.skipif(pick_device().type == "cpu", reason="no GPU here")
def test_observation_on_the_gpu_agrees_with_the_cpu() -> None:
    windows = texts(2)
    seen = {}
    for device in (CPU, pick_device()):
        structure = find_blocks(build("llama"))
        stream = capture(structure, windows, device)
        dense_block = copy.deepcopy(structure.blocks[0].module)
        for linear in structure.blocks[0].linears:
            halve(linear)
        seen[device], _ = observe(stream, stream.fork(), dense_block)
    for label, observed in seen[CPU].items():
        other = seen[pick_device()][label]
        assert torch.allclose(other.gram.matrix.cpu(), observed.gram.matrix, rtol=1e-3, atol=1e-3)
        assert torch.allclose(other.teacher_shift.cpu(), observed.teacher_shift, rtol=1e-3, atol=1e-3)


def solved_in_turn(name: str, with_teacher: bool, paused: bool, monkeypatch: pytest.MonkeyPatch) -> tuple[dict, Stream]:
    """Every group of every block observed behind the halved ones before it; the stream stands behind all blocks."""
    monkeypatch.setattr(observation, "_fits", lambda *_: paused)
    structure = find_blocks(build(name))
    stream = capture(structure, texts(3), CPU)
    teacher = stream.fork() if with_teacher else None
    found = {}
    for block in structure.blocks:
        dense_block = copy.deepcopy(block.module) if with_teacher else None
        for group, seen in observe_groups(stream, block.groups, teacher, dense_block, held_out=1):
            for linear in group:
                halve(linear)
            found |= {(block.index, label): observed for label, observed in seen.items()}
    assert stream.position == len(structure.blocks) == (teacher or stream).position
    return found, stream


@pytest.mark.parametrize("with_teacher", [False, True])
@pytest.mark.parametrize("name", ["llama", "gpt2", "gptj", "opt", "gemma3_text", "falcon"])
def test_paused_forwards_equal_repeated_ones_bit_for_bit(name, with_teacher, monkeypatch) -> None:
    repeated, behind = solved_in_turn(name, with_teacher, False, monkeypatch)
    paused, also_behind = solved_in_turn(name, with_teacher, True, monkeypatch)
    assert paused.keys() == repeated.keys()
    for key, one in repeated.items():
        other = paused[key]
        assert torch.equal(one.gram.matrix, other.gram.matrix) and torch.equal(
            one.held_out.matrix, other.held_out.matrix
        )
        assert (
            torch.equal(one.teacher_shift, other.teacher_shift)
            if with_teacher
            else one.teacher_shift is other.teacher_shift is None
        )
    assert all(map(torch.equal, behind.hidden, also_behind.hidden))


def test_a_paused_forward_runs_each_window_once() -> None:
    structure = find_blocks(build("llama"))
    block, stream = structure.blocks[0], capture(structure, texts(3), CPU)
    called = []
    block.module.self_attn.register_forward_hook(lambda *_: called.append("attention"))
    for _ in observe_groups(stream, block.groups):
        pass
    assert called == ["attention"] * 3 and stream.position == 1


def test_an_abandoned_observation_leaves_nothing_behind() -> None:
    structure = find_blocks(build("llama"))
    block, stream = structure.blocks[0], capture(structure, texts(2), CPU)
    seen_groups = observe_groups(stream, block.groups)
    next(seen_groups)
    assert torch.is_grad_enabled()
    seen_groups.close()
    hooks = [module for module in block.module.modules() if module._forward_pre_hooks]
    assert torch.is_grad_enabled() and not hooks and stream.position == 0
    assert torch.equal(stream.replay(0), stream.replay(0))


@pytest.fixture
def threads(request: pytest.FixtureRequest) -> Iterator[None]:
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(1)


@pytest.mark.parametrize("with_teacher", [False, True])
@pytest.mark.parametrize("paused", [False, True])
def test_windows_side_by_side_are_summed_in_their_order(with_teacher, paused, monkeypatch, threads) -> None:
    """Sums of float32 depend on their order: bit for bit, those of lanes are those of one thread."""
    together, behind = solved_in_turn("llama", with_teacher, paused, monkeypatch)
    torch.set_num_threads(1)
    alone, also_behind = solved_in_turn("llama", with_teacher, paused, monkeypatch)
    for key, one in together.items():
        assert torch.equal(one.gram.matrix, alone[key].gram.matrix)
        assert torch.equal(one.held_out.matrix, alone[key].held_out.matrix)
        assert not with_teacher or torch.equal(one.teacher_shift, alone[key].teacher_shift)
    assert all(map(torch.equal, behind.hidden, also_behind.hidden))


class Contrary(nn.Module):
    """Calls its two linears in an order that depends on its input."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        pair = (self.first, self.second) if hidden.sum() > 0 else (self.second, self.first)
        return pair[1](pair[0](hidden))


def test_an_order_that_depends_on_the_text_is_refused() -> None:
    block = Contrary()

    class Replays:
        hidden, device = (torch.ones(1, 2, 4), -torch.ones(1, 2, 4)), CPU

        def replay(self, window: int, module: nn.Module) -> torch.Tensor:
            return module(self.hidden[window])

    with paused(Replays(), block, ["first", "second"]) as forwards:
        first, second = forwards.inputs(0)
        assert first is not None and second is None
        with pytest.raises(SDSError, match=r"order that depends on the text.*--no-sequential"):
            for place in (1, 2):
                forwards.inputs(place)
