"""Replaying a model block by block gives its own numbers, also after weights have changed."""

import copy
from collections import UserDict

import pytest
import torch
from torch import Tensor

from sds_core.models.stream import Stream, capture, logits, observe
from sds_core.models.structure import Linear, ModelStructure, find_blocks
from tests.models.families import CASES, FAMILIES, WINDOW, build, plain_inputs, plain_logits, texts

CPU = torch.device("cpu")


def halve(linear: Linear) -> None:
    """Zero every other input of a layer."""
    weight = linear.read()
    weight[:, ::2] = 0
    linear.write(weight)


def replayed(stream: Stream, windows: Tensor) -> Tensor:
    """Logits (n, T, V) after all blocks have been replayed with the weights they have now."""
    for _ in stream.structure.blocks:
        stream.advance()
    return torch.stack(list(logits(stream, windows)))


@pytest.mark.parametrize(("name", "attention"), CASES)
def test_replaying_all_blocks_gives_the_models_logits_exactly(name: str, attention: str) -> None:
    model = build(name, attention)
    windows = texts()
    expected = plain_logits(model, windows)
    assert expected.std() > 0.1 and not torch.equal(expected[0], expected[1])
    assert torch.equal(replayed(capture(find_blocks(model), windows, CPU), windows), expected)


@pytest.mark.parametrize(("name", "attention"), CASES)
def test_calls_captured_before_pruning_replay_the_pruned_model_exactly(name: str, attention: str) -> None:
    model = build(name, attention)
    windows = texts()
    dense = plain_logits(model, windows)
    structure = find_blocks(model)
    stream = capture(structure, windows, CPU)
    for block in structure.blocks[:2]:
        for linear in block.linears:
            halve(linear)
    pruned = plain_logits(model, windows)
    assert (pruned - dense).abs().max() > 1
    assert torch.equal(replayed(stream, windows), pruned)


@pytest.mark.parametrize(
    ("name", "wide"),
    [
        ("gemma3_text", {"sliding_window": 64}),
        ("gemma2", {"sliding_window": 64}),
        ("qwen2", {"sliding_window": 64}),
        ("mistral", {"sliding_window": 64}),
        ("gpt_neo", {"window_size": 64}),
    ],
)
def test_the_texts_of_these_tests_are_longer_than_the_sliding_windows(name: str, wide: dict[str, int]) -> None:
    windows = texts()
    narrow = plain_logits(build(name), windows)
    unlimited = plain_logits(build(name, **wide), windows)
    assert torch.allclose(narrow[:, :WINDOW], unlimited[:, :WINDOW], atol=1e-5)
    assert (narrow[:, -1] - unlimited[:, -1]).abs().max() > 1e-2


def test_a_model_of_one_block_replays_exactly() -> None:
    for name, layers in [("llama", {"num_hidden_layers": 1}), ("gpt2", {"n_layer": 1})]:
        model = build(name, **layers)
        windows = texts()
        assert torch.equal(replayed(capture(find_blocks(model), windows, CPU), windows), plain_logits(model, windows))


class TextDependent(torch.nn.Module):
    """Rotary embeddings that depend on the text itself, as some families hand a tensor of the text to every block."""

    def __init__(self, rotary: torch.nn.Module):
        super().__init__()
        self.rotary = rotary

    def forward(self, hidden: Tensor, *args, **kwargs) -> tuple[Tensor, Tensor]:
        cosine, sine = self.rotary(hidden, *args, **kwargs)
        return cosine * hidden.std(), sine * hidden.std()


def test_arguments_that_differ_from_text_to_text_are_replayed_with_their_own_text() -> None:
    model = build("llama")
    model.model.rotary_emb = TextDependent(model.model.rotary_emb)
    windows = texts(12)  # more than are compared with each other
    stream = capture(find_blocks(model), windows, CPU)
    assert torch.equal(replayed(stream, windows), plain_logits(model, windows))


def test_bfloat16_hidden_states_stay_bfloat16_and_replay_exactly() -> None:
    model = build("llama").to(torch.bfloat16)
    windows = texts()
    stream = capture(find_blocks(model), windows, CPU)
    assert torch.equal(replayed(stream, windows), plain_logits(model, windows))
    assert {hidden.dtype for hidden in stream.hidden} == {torch.bfloat16}


def test_hidden_states_in_front_of_every_block_are_the_models_own() -> None:
    model = build("gemma3_text", "sdpa")
    windows = texts(3)
    stream = capture(find_blocks(model), windows, CPU)
    with torch.inference_mode():
        plain = [model(window[None], output_hidden_states=True, use_cache=False).hidden_states for window in windows]
    for position in range(4):  # the last of the plain ones has passed the final norm already
        assert stream.position == position
        assert all(torch.equal(mine, theirs[position]) for mine, theirs in zip(stream.hidden, plain, strict=True))
        stream.advance()


def test_capturing_runs_no_block_and_no_head_and_leaves_the_model_as_it_was() -> None:
    model = build("llama")
    windows = texts()
    before = plain_logits(model, windows)
    structure = find_blocks(model)
    called: list[int] = []
    watched = [*(block.module.mlp for block in structure.blocks), model.lm_head]
    handles = [module.register_forward_hook(lambda *_: called.append(1)) for module in watched]
    capture(structure, windows, CPU)
    assert not called
    for handle in handles:
        handle.remove()
    assert not any("forward" in vars(block.module) for block in structure.blocks)
    assert torch.equal(plain_logits(model, windows), before)


def test_the_model_is_usable_again_after_a_capture_that_failed() -> None:
    model = build("llama")
    structure = find_blocks(model)
    with pytest.raises(IndexError):
        capture(structure, torch.tensor([[1, 10_000]]), CPU)
    assert not any("forward" in vars(block.module) for block in structure.blocks)


def test_a_fork_goes_its_own_way() -> None:
    model = build("llama")
    windows = texts()
    dense = plain_logits(model, windows)
    structure = find_blocks(model)
    stream = capture(structure, windows, CPU)
    stream.advance()
    fork = stream.fork()
    assert fork.position == 1
    untouched = [hidden.clone() for hidden in fork.hidden]
    for linear in structure.blocks[1].linears:
        halve(linear)
    stream.advance()
    assert fork.position == 1 and all(map(torch.equal, fork.hidden, untouched))
    fork.advance(find_blocks(build("llama")).blocks[1].module)  # a stand-in with the dense weights
    assert not torch.equal(fork.hidden[0], stream.hidden[0])
    for position in (2,):
        fork.advance(structure.blocks[position].module)
    assert torch.equal(torch.stack(list(logits(fork, windows))), dense)


class Donor(torch.nn.Module):
    """A block that leaves what it computed in a container for later blocks, as families with shared keys do."""

    def __init__(self, block: torch.nn.Module, index: int):
        super().__init__()
        self.block, self.index = block, index

    def forward(self, hidden: Tensor, kept: UserDict, **kwargs) -> Tensor:
        if self.index == 0:
            kept["mlp"] = self.block.mlp(hidden)
        return self.block(hidden, **kwargs) + kept["mlp"]


class Sharing(torch.nn.Module):
    """Hands every forward pass a container of its own, the same to all its blocks."""

    def __init__(self, inner: torch.nn.Module):
        super().__init__()
        self.inner = inner
        inner.layers = torch.nn.ModuleList(Donor(block, i) for i, block in enumerate(inner.layers))

    def forward(self, *args, **kwargs):
        return self.inner(*args, kept=UserDict(), **kwargs)


def test_two_streams_do_not_share_what_blocks_leave_for_later_ones() -> None:
    model = build("llama")
    model.model = Sharing(model.model)
    dense_model = copy.deepcopy(model)
    windows = texts(3)
    structure = find_blocks(model)
    stream = capture(structure, windows, CPU)
    teacher = stream.fork()
    dense_blocks = [copy.deepcopy(block.module) for block in structure.blocks]
    for block, dense_block in zip(structure.blocks, dense_blocks, strict=True):
        for linear in block.linears:
            halve(linear)
        teacher.advance(dense_block)
        stream.advance()
        if block.index < 2:  # now the later block of the one must not find what the other has left
            assert not torch.equal(teacher.hidden[0], stream.hidden[0])
    pruned, dense = plain_logits(model, windows), plain_logits(dense_model, windows)
    assert (pruned - dense).abs().max() > 1
    assert torch.equal(torch.stack(list(logits(stream, windows))), pruned)
    assert torch.equal(torch.stack(list(logits(teacher, windows))), dense)


def tensors_held(stream: Stream) -> set[int]:
    """Addresses of the tensors among the captured arguments."""

    def walk(value) -> set[int]:
        if isinstance(value, Tensor):
            return {value.data_ptr()}
        if isinstance(value, tuple | list):
            return set().union(*map(walk, value))
        return set()

    return set().union(*(walk((call.args, *call.kwargs.values())) for calls in stream._calls for call in calls))


@pytest.mark.parametrize(("name", "attention"), [("llama", "eager"), ("gemma3_text", "eager"), ("bloom", "eager")])
def test_arguments_that_repeat_from_window_to_window_are_held_once(name: str, attention: str) -> None:
    structure = find_blocks(build(name, attention))
    one, many = (tensors_held(capture(structure, texts(count), CPU)) for count in (1, 6))
    assert one and len(many) == len(one)


def heads(structure: ModelStructure, block: int) -> list[Linear]:
    return [linear for linear in structure.blocks[block].linears if linear.label == linear.input]


@pytest.mark.parametrize("name", ["llama", "gpt2", "opt", "gemma3_text", "falcon"])
def test_gram_matrices_are_those_of_a_plain_forward_of_the_whole_model(name: str) -> None:
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
        assert seen[linear.input].pull is None

    assert stream.position == 1
    stream.move_on(outputs)
    for _ in structure.blocks[2:]:
        stream.advance()
    assert torch.equal(torch.stack(list(logits(stream, windows))), plain_logits(model, windows))


@pytest.mark.parametrize("name", ["llama", "gpt2"])
@pytest.mark.parametrize("stand_in", [False, True])
def test_the_teachers_pull_is_that_of_two_plain_forwards(name: str, stand_in: bool) -> None:
    dense_model = build(name)
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

    names = [linear.name for linear in heads(structure, 1)]
    x, dense = plain_inputs(model, windows, names), plain_inputs(dense_model, windows, names)
    seen, _ = observe(stream, teacher, dense_block)
    for linear in heads(structure, 1):
        xs, xd = x[linear.name], dense[linear.name]
        expected = (xd.T @ xs - xs.T @ xs) / len(xs)
        assert expected.abs().max() > 1e-3
        pull = seen[linear.label].pull.double()
        assert torch.allclose(pull, expected, rtol=0, atol=2e-5 * float((xs.T @ xs).abs().max() / len(xs)))

    assert stream.position == 1 and teacher.position == 2
    teacher.advance()
    assert torch.equal(torch.stack(list(logits(teacher, windows))), plain_logits(dense_model, windows))


@pytest.mark.parametrize("taught", [False, True])
def test_windows_that_are_held_out_have_gram_matrices_of_their_own(taught: bool) -> None:
    windows = texts(4)
    streams = [capture(find_blocks(build("llama")), part, CPU) for part in (windows, windows[:3], windows[3:])]
    both, seen, unseen = (
        observe(stream, stream.fork() if taught else None, held_out=count)[0]
        for stream, count in zip(streams, (1, 0, 0), strict=True)
    )
    for label, observed in both.items():
        assert torch.equal(observed.gram.matrix, seen[label].gram.matrix)
        assert torch.equal(observed.held_out.matrix, unseen[label].gram.matrix)
        assert (observed.pull is not None) == taught and seen[label].held_out is None


@pytest.mark.parametrize("name", ["llama", "gptj"])
@pytest.mark.parametrize("taught", [False, True])
def test_a_replay_that_stops_at_what_is_watched_sees_the_same_and_moves_nothing(name: str, taught: bool) -> None:
    structure = find_blocks(build(name))
    stream = capture(structure, texts(3), CPU)
    teacher = stream.fork() if taught else None
    for group in structure.blocks[0].groups:
        seen, outputs = observe(stream, teacher, None, 1, group, run_to_end=False)
        whole, _ = observe(stream, stream.fork() if taught else None, None, 1)
        assert list(seen) == [group[0].label] and outputs == []
        mine, its = seen[group[0].label], whole[group[0].label]
        assert torch.equal(mine.gram.matrix, its.gram.matrix)
        assert torch.equal(mine.held_out.matrix, its.held_out.matrix)
        assert torch.equal(mine.pull, its.pull) if taught else mine.pull is None
    assert stream.position == 0 and (teacher is None or teacher.position == 0)


def test_a_replay_that_stops_does_not_run_what_comes_after() -> None:
    structure = find_blocks(build("llama"))
    stream = capture(structure, texts(2), CPU)
    called = []
    structure.blocks[0].module.mlp.down_proj.register_forward_hook(lambda *_: called.append("down"))
    groups = structure.blocks[0].groups
    assert [[linear.label for linear in group] for group in groups] == [list(g) for g in FAMILIES["llama"].groups]
    observe(stream, watched=groups[2], run_to_end=False)
    assert not called
    observe(stream, watched=groups[2])
    assert called == ["down"] * 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_block_observed_on_the_gpu_beside_a_stand_in_teacher_agrees_with_the_cpu() -> None:
    windows = texts(2)
    seen = {}
    for device in (CPU, torch.device("cuda:0")):
        structure = find_blocks(build("llama"))
        stream = capture(structure, windows, device)
        dense_block = copy.deepcopy(structure.blocks[0].module)
        for linear in structure.blocks[0].linears:
            halve(linear)
        seen[device.type], _ = observe(stream, stream.fork(), dense_block)
    for label, observed in seen["cpu"].items():
        other = seen["cuda"][label]
        assert torch.allclose(other.gram.matrix.cpu(), observed.gram.matrix, rtol=1e-3, atol=1e-3)
        assert torch.allclose(other.pull.cpu(), observed.pull, rtol=1e-3, atol=1e-3)
