"""Calibration data flowing through a model one block at a time: one block's weights and one window on the device.

`capture` runs the model once with its blocks replaced by stand-ins and keeps the call that each block received, per
window; `Stream` then replays the real blocks one after the other, feeding each the hidden states of the one before.
"""

import copy
from collections.abc import Iterator, MutableMapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sds_core.models.hidden_states import HiddenStateFile
from sds_core.models.structure import Block, ModelStructure, hidden_of
from sds_core.models.weight_store import WeightStore

HiddenStates = list[Tensor] | HiddenStateFile
"""Hidden states (1, T, C), one a window, wherever they lie."""


class _AllCaptured(Exception):
    """The last block was reached; what comes after it is not needed."""


@dataclass(frozen=True)
class _Call:
    """The arguments of one block for one window; hidden states excluded."""

    args: tuple
    kwargs: dict[str, Any]


class _OneCopy:
    """Keeps one copy of tensors that are equal: masks and rotary embeddings repeat from window to window."""

    LOOKED_AT = 8  # candidates compared, so that tensors that do differ by window do not cost quadratic time

    def __init__(self) -> None:
        self._known: dict[tuple, list[Tensor]] = {}

    def __call__(self, tensor: Tensor) -> Tensor:
        known = self._known.setdefault((tensor.shape, tensor.dtype), [])
        for other in known[: self.LOOKED_AT]:
            if other is tensor or torch.equal(other, tensor):
                return other
        known.append(tensor)
        return tensor


def _map_tensors(change: Any, value: Any) -> Any:
    """Apply `change` to every tensor in nested tuples and lists; all other containers are passed on by reference.

    Some families fill a dictionary in one block and read it in a later one.
    """
    if isinstance(value, Tensor):
        return change(value)
    if type(value) in (tuple, list):
        return type(value)(_map_tensors(change, item) for item in value)
    return value


def _copied(value: Any, own: dict[int, Any]) -> Any:
    """The same argument with dictionaries copied, each one once; tensors are shared."""
    if isinstance(value, MutableMapping):
        return own.setdefault(id(value), copy.copy(value))
    if type(value) in (tuple, list):
        return type(value)(_copied(item, own) for item in value)
    return value


class Stream:
    """The hidden states of all windows in front of block `position`, and the calls to go on with."""

    def __init__(self, structure: ModelStructure, hidden: HiddenStates, calls: list[list[_Call]], device: torch.device):
        self.structure, self.hidden, self.device = structure, hidden, device
        self.position = 0
        self._calls = calls

    def fork(self) -> "Stream":
        """A second stream from the same point, to be fed by other weights.

        It gets containers of its own: what blocks leave in them for later blocks depends on the weights.
        """
        own: dict[int, Any] = {}  # a window's blocks go on sharing theirs with each other
        calls = [
            [
                _Call(_copied(call.args, own), {key: _copied(value, own) for key, value in call.kwargs.items()})
                for call in block
            ]
            for block in self._calls
        ]
        other = Stream(self.structure, self.structure.store.hidden_states(self.hidden), calls, self.device)
        other.position = self.position
        return other

    def arguments(self, window: int) -> tuple[tuple, dict[str, Any]]:
        """What the next block is called with for one window, on the device."""
        call = self._calls[self.position][window]
        to_device = lambda tensor: tensor.to(self.device)
        args = list(_map_tensors(to_device, call.args))
        kwargs = {key: _map_tensors(to_device, value) for key, value in call.kwargs.items()}
        hidden = self.hidden[window].to(self.device)
        if isinstance(self.structure.slot, int):
            args.insert(self.structure.slot, hidden)
        else:
            kwargs[self.structure.slot] = hidden
        return tuple(args), kwargs

    def replay(self, window: int, module: nn.Module | None = None) -> Tensor:
        """What the next block (or a stand-in for it with other weights) makes of one window; nothing is advanced."""
        args, kwargs = self.arguments(window)
        block = module or self.structure.blocks[self.position].module
        with torch.no_grad():
            return hidden_of(block(*args, **kwargs))

    def move_on(self, outputs: HiddenStates) -> None:
        """Step behind the block, whose outputs for all windows these are."""
        assert len(outputs) == len(self.hidden)
        self.hidden = outputs
        self.position += 1

    def advance(self, module: nn.Module | None = None) -> None:
        """Step behind the next block with the weights it has now, or those of a stand-in."""
        block = module or self.structure.blocks[self.position].module
        with on_device(block, self.device, self.structure.store):
            for window in range(len(self.hidden)):
                self.hidden[window] = self.replay(window, block).cpu()
        self.position += 1


@contextmanager
def on_device(block: nn.Module, device: torch.device, store: WeightStore) -> Iterator[None]:
    """A block's weights are on `device` inside the `with`, and behind it back where they were."""
    with store.resident(block):
        block.to(device)
        try:
            yield
        finally:
            block.to("cpu")


@contextmanager
def _forwards(structure: ModelStructure, stand_in: Any) -> Iterator[None]:
    """Every block's `forward` is `stand_in(block, args, kwargs)` inside the `with`."""
    with ExitStack() as stack:
        for block in structure.blocks:
            block.module.forward = lambda *args, _block=block, **kwargs: stand_in(_block, args, kwargs)
            stack.callback(delattr, block.module, "forward")
        yield


def _split(structure: ModelStructure, args: tuple, kwargs: dict[str, Any]) -> tuple[Tensor, tuple, dict[str, Any]]:
    """Hidden states apart from a block's other arguments."""
    if isinstance(structure.slot, int) and structure.slot < len(args):
        return args[structure.slot], args[: structure.slot] + args[structure.slot + 1 :], kwargs
    key = "hidden_states" if isinstance(structure.slot, int) else structure.slot
    return kwargs[key], args, {k: v for k, v in kwargs.items() if k != key}


def capture(structure: ModelStructure, windows: Tensor, device: torch.device) -> Stream:
    """Start a stream for windows of token ids (n, T): embeddings computed, no block run.

    Blocks are replaced by stand-ins that hand on what they receive, so this costs next to nothing; it rests on
    blocks' other arguments not depending on what earlier blocks compute.
    """
    one_copy = _OneCopy()
    hidden = structure.store.hidden_states()
    calls: list[list[_Call]] = [[] for _ in structure.blocks]

    def note(block: Block, args: tuple, kwargs: dict[str, Any]) -> Any:
        state, args, kwargs = _split(structure, args, kwargs)
        if block.index == 0:
            hidden.append(state)
        calls[block.index].append(
            _Call(_map_tensors(one_copy, args), {k: _map_tensors(one_copy, v) for k, v in kwargs.items()})
        )
        if block.index == len(structure.blocks) - 1:
            raise _AllCaptured
        return structure.wrap(state)

    with (
        torch.no_grad(),
        _forwards(structure, note),
    ):  # no inference tensors: `block_reconstruction` differentiates later
        for window in windows:
            try:
                structure.model(window[None], use_cache=False)
            except _AllCaptured:
                continue
    return Stream(structure, hidden, calls, device)


@contextmanager
def _non_block_weights_on_device(structure: ModelStructure, device: torch.device) -> Iterator[None]:
    """All of the model but its blocks (embeddings, last norm, head) is on `device` inside the `with`."""
    inside = {id(t) for block in structure.blocks for t in (*block.module.parameters(), *block.module.buffers())}
    frame = [t for t in (*structure.model.parameters(), *structure.model.buffers()) if id(t) not in inside]
    for tensor in frame:
        tensor.data = tensor.data.to(device)
    try:
        yield
    finally:
        for tensor in frame:
            tensor.data = tensor.data.cpu()


def logits(stream: Stream, windows: Tensor) -> Iterator[Tensor]:
    """The model's logits (T, V) window by window, from hidden states that have passed all blocks."""
    structure, device = stream.structure, stream.device
    assert stream.position == len(structure.blocks)
    last = len(structure.blocks) - 1
    with _non_block_weights_on_device(structure, device):
        for tokens, final in zip(windows, stream.hidden, strict=True):

            def hand_over(block: Block, args: tuple, kwargs: dict[str, Any], final: Tensor = final) -> Any:
                return structure.wrap(final.to(device) if block.index == last else _split(structure, args, kwargs)[0])

            with torch.inference_mode(), _forwards(structure, hand_over):
                scores = structure.model(tokens[None].to(device), use_cache=False).logits[0]
            yield scores
