"""Forward passes of all windows through one block that pause in front of its linears and resume on request."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import torch
from greenlet import GreenletExit, getcurrent, greenlet
from torch import Tensor, nn

from sds_core.errors import SDSError
from sds_core.models.hidden_states import HiddenStates, empty_like
from sds_core.models.stream import Stream


class _Pause(NamedTuple):
    """A forward pass waiting in front of a linear."""

    place: int
    inputs: Tensor


class PausedForwards:
    """The forwards of all windows through one block, each running up to one of the block's linears at a time."""

    def __init__(self, stream: Stream, block: nn.Module, labels: Sequence[str]):
        self._stream = stream
        self._places = {block.get_submodule(label): place for place, label in enumerate(labels)}
        self._forwards = [greenlet(lambda window: stream.replay(window, block)) for _ in stream.hidden]
        self._waiting: list[_Pause | Tensor | None] = [None] * len(self._forwards)
        self._seen: list[set[int]] = [set() for _ in self._forwards]
        self._window, self._now = 0, 0

    def pause(self, module: nn.Module, args: tuple) -> None:
        """Pre-forward hook of a linear: pass its inputs out and wait."""
        place, seen = self._places[module], self._seen[self._window]
        if place not in seen:
            if place < self._now:
                raise SDSError(
                    "a block calls its layers in an order that depends on the text, so they cannot be solved one "
                    "behind the other",
                    cure="use --no-sequential",
                )
            seen.add(place)
            getcurrent().parent.switch(_Pause(place, args[0]))

    def inputs(self, window: int, place: int) -> Tensor | None:
        """Resume a forward up to a linear; return its inputs (B, T, C), or None if the forward does not call it."""
        self._now = place
        while (waiting := self._resume(window)) is None or (isinstance(waiting, _Pause) and waiting.place < place):
            self._waiting[window] = None
        reached = isinstance(waiting, _Pause) and waiting.place == place
        return waiting.inputs if reached and isinstance(waiting, _Pause) else None

    def outputs(self) -> HiddenStates:
        """Resume all forwards to the end; return the block's outputs."""
        self._now = len(self._places)
        found = empty_like(self._stream.hidden)
        for window in range(len(self._forwards)):
            while not isinstance(end := self._resume(window), Tensor):
                self._waiting[window] = None
            found.append(end)
            self._waiting[window] = None
        return found

    def _resume(self, window: int) -> _Pause | Tensor | None:
        """Return the pause or the result of a forward, running it if it is not waiting."""
        if self._waiting[window] is None:
            self._window, forward = window, self._forwards[window]
            with torch.no_grad():
                self._waiting[window] = forward.switch() if forward else forward.switch(window)
        return self._waiting[window]

    def close(self) -> None:
        """End the forwards that are still waiting."""
        with torch.no_grad():  # what a forward sets for this thread must not outlive it
            for forward in self._forwards:
                if forward and not forward.dead:
                    forward.throw(GreenletExit)


@contextmanager
def paused(stream: Stream, block: nn.Module, labels: Sequence[str]) -> Iterator[PausedForwards]:
    """The forwards of all windows through a block, pausing at the modules of these names inside the `with`."""
    forwards = PausedForwards(stream, block, labels)
    with ExitStack() as stack:
        stack.callback(forwards.close)
        for label in labels:
            stack.callback(block.get_submodule(label).register_forward_pre_hook(forwards.pause).remove)
        yield forwards
