"""Forward passes of all windows through one block that pause in front of its linears and resume on request."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import NamedTuple, TypeVar

import torch
from greenlet import GreenletExit, getcurrent, greenlet
from torch import Tensor, nn

from sds_core.errors import SDSError
from sds_core.models.hidden_states import HiddenStates, empty_like
from sds_core.models.stream import Stream
from sds_core.pruning.lanes import side_by_side

Result = TypeVar("Result")


class _Pause(NamedTuple):
    """A forward pass waiting in front of a linear."""

    place: int
    inputs: Tensor


class _Forward(greenlet):
    """The forward of one window. It stays in the thread that begins it."""

    def __init__(self, run: Callable[[], Tensor]):
        super().__init__(run)
        self.seen: set[int] = set()
        """Places of the linears that it has called."""


class PausedForwards:
    """The forwards of all windows through one block, each running up to one of the block's linears at a time."""

    def __init__(self, stream: Stream, block: nn.Module, labels: Sequence[str]):
        self._stream, self._block = stream, block
        self._places = {block.get_submodule(label): place for place, label in enumerate(labels)}
        self._forwards: list[_Forward | None] = [None] * len(stream.hidden)
        self._waiting: list[_Pause | Tensor | None] = [None] * len(stream.hidden)
        self._now = 0

    def pause(self, module: nn.Module, args: tuple) -> None:
        """Pre-forward hook of a linear: pass its inputs out and wait."""
        place, forward = self._places[module], getcurrent()
        assert isinstance(forward, _Forward)
        if place not in forward.seen:
            if place < self._now:
                raise SDSError(
                    "a block calls its layers in an order that depends on the text, so they cannot be solved one "
                    "behind the other",
                    cure="use --no-sequential",
                )
            forward.seen.add(place)
            forward.parent.switch(_Pause(place, args[0]))

    def inputs(self, place: int) -> list[Tensor | None]:
        """Resume all forwards up to a linear; return its inputs (B, T, C), or None where a forward does not call it."""
        self._now = place
        return self._side_by_side(self._inputs)

    def _inputs(self, window: int) -> Tensor | None:
        while (waiting := self._resume(window)) is None or (isinstance(waiting, _Pause) and waiting.place < self._now):
            self._waiting[window] = None
        reached = isinstance(waiting, _Pause) and waiting.place == self._now
        return waiting.inputs if reached and isinstance(waiting, _Pause) else None

    def outputs(self) -> HiddenStates:
        """Resume all forwards to the end; return the block's outputs."""
        self._now = len(self._places)
        found = empty_like(self._stream.hidden)
        for output in self._side_by_side(self._output):
            found.append(output)
        return found

    def _output(self, window: int) -> Tensor:
        while not isinstance(end := self._resume(window), Tensor):
            self._waiting[window] = None
        self._waiting[window] = None
        return end

    def _resume(self, window: int) -> _Pause | Tensor | None:
        """Return the pause or the result of a forward, running it if it is not waiting."""
        if self._waiting[window] is None:
            forward = self._forwards[window]
            if forward is None:
                forward = self._forwards[window] = _Forward(partial(self._stream.replay, window, self._block))
            with torch.no_grad():
                self._waiting[window] = forward.switch()
        return self._waiting[window]

    def close(self) -> None:
        """End the forwards that are still waiting."""
        self._side_by_side(self._end)

    def _end(self, window: int) -> None:
        forward = self._forwards[window]
        with torch.no_grad():  # what a forward sets for this thread must not outlive it
            if forward and not forward.dead:
                forward.throw(GreenletExit)

    def _side_by_side(self, do: Callable[[int], Result]) -> list[Result]:
        """Do something with every window, always in the thread in which its forward began."""
        return side_by_side(do, range(len(self._forwards)), self._stream.device, pinned=True)


@contextmanager
def paused(stream: Stream, block: nn.Module, labels: Sequence[str]) -> Iterator[PausedForwards]:
    """The forwards of all windows through a block, pausing at the modules of these names inside the `with`."""
    forwards = PausedForwards(stream, block, labels)
    with ExitStack() as stack:
        stack.callback(forwards.close)
        for label in labels:
            stack.callback(block.get_submodule(label).register_forward_pre_hook(forwards.pause).remove)
        yield forwards
