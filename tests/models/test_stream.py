"""Replaying a model block by block gives its own numbers, also after weights have changed."""

import copy
from collections import UserDict

import pytest
import torch
from torch import Tensor

from benchmarks.families import tiny
from sds_core.models.linear import Linear
from sds_core.models.logits import logits
from sds_core.models.stream import Stream, capture
from sds_core.models.structure import find_blocks
from tests.models.families import CASES, WINDOW, build, plain_logits, texts

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
def test_calls_captured_before_pruning_replay_the_pruned_model_exactly(name: str, attention: str) -> None:
    model = build(name, attention)
    windows = texts()
    dense = plain_logits(model, windows)
    assert dense.std() > 0.1 and not torch.equal(dense[0], dense[1])
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
def test_test_texts_exceed_the_sliding_windows(name: str, wide: dict[str, int]) -> None:
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


@pytest.mark.parametrize("name", ["llama", "gemma3n_text", "deepseek_v4"])
@pytest.mark.parametrize("size", [1, 3])
def test_several_hidden_states_for_each_token_become_logits_window_by_window(name: str, size: int) -> None:
    model, windows = tiny(name, "eager"), texts(5)
    structure = find_blocks(model)  # chooses how experts are computed
    expected = plain_logits(model, windows)
    found = replayed(capture(structure, windows.split(size), CPU), windows)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 if size > 1 else 0)


def test_arguments_that_depend_on_the_text_are_replayed() -> None:
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


def test_hidden_states_equal_the_models_own() -> None:
    model = build("gemma3_text", "sdpa")
    windows = texts(3)
    stream = capture(find_blocks(model), windows, CPU)
    with torch.inference_mode():
        plain = [model(window[None], output_hidden_states=True, use_cache=False).hidden_states for window in windows]
    for position in range(4):  # the last of the plain ones has passed the final norm already
        assert stream.position == position
        assert all(torch.equal(mine, theirs[position]) for mine, theirs in zip(stream.hidden, plain, strict=True))
        stream.advance()


def test_capture_runs_no_block_and_changes_nothing() -> None:
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


def test_failed_capture_leaves_the_model_usable() -> None:
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


def test_forked_streams_do_not_share_containers() -> None:
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
def test_repeated_arguments_are_stored_once(name: str, attention: str) -> None:
    structure = find_blocks(build(name, attention))
    one, many = (tensors_held(capture(structure, texts(count), CPU)) for count in (1, 6))
    assert one and len(many) == len(one)
