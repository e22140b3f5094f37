"""Calibration data passing through a model block by block, with one block's weights at a time on the device.

`capture` runs the model once without running its blocks, and keeps the arguments that each block receives, per window;
`Stream` then replays the blocks one after the other, feeding each the hidden states of the one before. Where a device
has room, several windows go through a block together, and a *window* below is such a batch.
"""

import copy
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from sds_core.models.bfloat16 import bfloat16_products
from sds_core.models.device import available_memory
from sds_core.models.hidden_states import HiddenStates, HostHiddenStates, empty_like
from sds_core.models.placement import DeviceCopies, on_device
from sds_core.models.structure import Block, ModelStructure, hidden_of
from sds_core.pruning.lanes import as_they_come, in_turn

LISTS = 8
"""Hidden states stay on a device that has room for so many lists of them: at most five are alive in a pass."""
BATCH = 8192
"""Tokens that go through a block together on a device: enough to keep it busy."""


class _AllCaptured(Exception):
    """The last block was reached; the rest of the forward pass is not needed."""


@dataclass(frozen=True)
class _Arguments:
    """The arguments of one block for one window, without the hidden states."""

    args: tuple
    kwargs: dict[str, Any]


class _Deduplicator:
    """Keep one copy of equal tensors: masks and rotary embeddings repeat from window to window."""

    COMPARED = 8  # so many candidates, so that tensors that do differ by window do not cost quadratic time

    def __init__(self) -> None:
        self._known: dict[tuple, list[Tensor]] = {}

    def __call__(self, tensor: Tensor) -> Tensor:
        """The kept tensor equal to this one."""
        known = self._known.setdefault((tensor.shape, tensor.dtype), [])
        for other in known[: self.COMPARED]:
            if other is tensor or torch.equal(other, tensor):
                return other
        known.append(tensor)
        return tensor


def _map_tensors(change: Any, value: Any) -> Any:
    """Apply `change` to every tensor in nested tuples and lists; pass other containers on by reference.

    Some families fill a dictionary in one block and read it in a later one.
    """
    if isinstance(value, Tensor):
        return change(value)
    if type(value) in (tuple, list):
        return type(value)(_map_tensors(change, item) for item in value)
    return value


def _copied(value: Any, copies: dict[int, Any]) -> Any:
    """An argument with its dictionaries copied, each once (`copies`, by identity); tensors are shared."""
    if isinstance(value, MutableMapping):
        return copies.setdefault(id(value), copy.copy(value))
    if type(value) in (tuple, list):
        return type(value)(_copied(item, copies) for item in value)
    return value


class Stream:
    """The hidden states of all windows in front of block `position`, and the arguments of all blocks."""

    def __init__(
        self,
        structure: ModelStructure,
        hidden: HiddenStates,
        calls: list[list[_Arguments]],
        tokens: list[int],
        device: torch.device,
        bfloat16: bool = False,
    ):
        self.structure, self.hidden, self.device, self.bfloat16 = structure, hidden, device, bfloat16
        self.tokens = tokens
        """Number of tokens of each window; some families have several hidden states for each."""
        self.position = 0
        self._calls = calls
        self._on_device = DeviceCopies(device)

    def fork(self) -> "Stream":
        """A second stream from the same point, to be advanced through other weights.

        Its containers are copies: what blocks leave in them for later blocks depends on the weights.
        """
        copies: dict[int, Any] = {}  # blocks of one window go on sharing their containers
        copied = lambda value: _copied(value, copies)
        calls = [
            [
                _Arguments(copied(call.args), {key: copied(value) for key, value in call.kwargs.items()})
                for call in block
            ]
            for block in self._calls
        ]
        hidden = empty_like(self.hidden)
        for state in self.hidden:
            hidden.append(state)
        other = Stream(self.structure, hidden, calls, self.tokens, self.device, self.bfloat16)
        other.position = self.position
        return other

    def arguments(self, window: int) -> tuple[tuple, dict[str, Any]]:
        """The next block's arguments for one window, on the device."""
        call = self._calls[self.position][window]
        args = list(_map_tensors(self._on_device, call.args))
        kwargs = {key: _map_tensors(self._on_device, value) for key, value in call.kwargs.items()}
        hidden = self.hidden[window].to(self.device)
        if isinstance(self.structure.slot, int):
            args.insert(self.structure.slot, hidden)
        else:
            kwargs[self.structure.slot] = hidden
        return tuple(args), kwargs

    def replay(self, window: int, module: nn.Module | None = None) -> Tensor:
        """The next block's output (B, T, C) for one window, or that of `module` in its place; the stream stays."""
        args, kwargs = self.arguments(window)
        block = module or self.structure.blocks[self.position].module
        with torch.no_grad():
            return hidden_of(block(*args, **kwargs))

    @contextmanager
    def running(self, block: nn.Module) -> Iterator[None]:
        """A block is on the device and computes in this stream's precision inside the `with`."""
        precision = bfloat16_products(block) if self.bfloat16 else nullcontext()
        with on_device(block, self.device, self.structure.store), precision:
            yield

    def move_on(self, outputs: HiddenStates) -> None:
        """Step behind the next block, given its outputs for all windows."""
        assert len(outputs) == len(self.hidden)
        self.hidden = outputs
        self.position += 1

    def advance(self, module: nn.Module | None = None, in_this_thread: bool = False) -> None:
        """Step behind the next block with its present weights, or through `module` in its place.

        Args:
            module: takes the block's place.
            in_this_thread: whether the caller watches its own thread alone, so that windows go one by one.
        """
        block = module or self.structure.blocks[self.position].module
        with self.running(block):
            replay, windows = partial(self.replay, module=block), range(len(self.hidden))
            outputs = in_turn(replay, windows) if in_this_thread else as_they_come(replay, windows, self.device)
            for window, output in enumerate(outputs):
                self.hidden[window] = output
        self.position += 1


@contextmanager
def replaced_forwards(structure: ModelStructure, forward: Any) -> Iterator[None]:
    """Every block's `forward` is `forward(block, args, kwargs)` inside the `with`."""
    with ExitStack() as stack:
        for block in structure.blocks:
            block.module.forward = lambda *args, _block=block, **kwargs: forward(_block, args, kwargs)
            stack.callback(delattr, block.module, "forward")
        yield


def split_arguments(
    structure: ModelStructure, args: tuple, kwargs: dict[str, Any]
) -> tuple[Tensor, tuple, dict[str, Any]]:
    """Split a block's arguments into hidden states and the rest."""
    if isinstance(structure.slot, int) and structure.slot < len(args):
        return args[structure.slot], args[: structure.slot] + args[structure.slot + 1 :], kwargs
    key = "hidden_states" if isinstance(structure.slot, int) else structure.slot
    return kwargs[key], args, {k: v for k, v in kwargs.items() if k != key}


def batches(windows: Tensor, device: torch.device, held_out: int = 0) -> list[Tensor]:
    """Return windows (n, T) in batches (B, T), the last `held_out` apart: single ones on the CPU."""
    size = 1 if device.type == "cpu" else max(1, BATCH // windows.shape[1])
    parts = windows.split([len(windows) - held_out, held_out])
    return [batch for part in parts if len(part) for batch in part.split(size)]


def capture(
    structure: ModelStructure, windows: Tensor | Sequence[Tensor], device: torch.device, bfloat16: bool = False
) -> Stream:
    """Start a stream for windows of token ids, (n, T) or batches (B, T), in front of the first block.

    Only the embeddings are computed: each block passes its input on unchanged. This is right because a block's other
    arguments do not depend on what earlier blocks compute.
    """
    deduplicate = _Deduplicator()
    hidden = structure.store.hidden_states()
    calls: list[list[_Arguments]] = [[] for _ in structure.blocks]

    def record(block: Block, args: tuple, kwargs: dict[str, Any]) -> Any:
        state, args, kwargs = split_arguments(structure, args, kwargs)
        if block.index == 0:
            hidden.append(state)
        calls[block.index].append(
            _Arguments(_map_tensors(deduplicate, args), {k: _map_tensors(deduplicate, v) for k, v in kwargs.items()})
        )
        if block.index == len(structure.blocks) - 1:
            raise _AllCaptured
        return structure.wrap(state)

    # Not inference mode: `block_reconstruction` differentiates with these tensors later.
    with torch.no_grad(), replaced_forwards(structure, record):
        for window in windows:
            try:
                structure.model(torch.atleast_2d(window), use_cache=False)
            except _AllCaptured:
                continue
    return Stream(structure, _placed(hidden, device), calls, [x.numel() for x in windows], device, bfloat16)


def _placed(hidden: HiddenStates, device: torch.device) -> HiddenStates:
    """Return a list in memory where it is used, on the device if it has room."""
    if not isinstance(hidden, list) or device.type == "cpu":
        return hidden
    if LISTS * sum(state.nbytes for state in hidden) < available_memory(device):
        return [state.to(device) for state in hidden]
    return HostHiddenStates(device, hidden)
