"""Independent computations side by side, each on its share of the CPU's threads.

Products of small matrices hardly gain from a second core; two products on a core each do. A *lane* is a thread of its
own. Torch's number of threads belongs to the thread that sets it, so a lane computes the same whatever else runs.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Generic, TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

_pools: list[ThreadPoolExecutor] = []
"""The lanes: pools of one thread each, made when they are first needed."""
_here = threading.local()
"""Whether the present thread is a lane."""


def lanes(count: int, device: torch.device) -> int:
    """Return how many of `count` computations run at a time: one on a device, and inside a lane."""
    if device.type != "cpu" or getattr(_here, "is_lane", False):
        return 1
    return max(1, min(count, torch.get_num_threads()))


def side_by_side(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    device: torch.device,
    *,
    cost: Callable[[Item], float] | None = None,
    pinned: bool = False,
) -> list[Result]:
    """Return the function's results in the order of the items; arguments and errors as of `as_they_come`."""
    return list(as_they_come(function, items, device, cost=cost, pinned=pinned))


def as_they_come(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    device: torch.device,
    *,
    cost: Callable[[Item], float] | None = None,
    pinned: bool = False,
) -> Iterator[Result]:
    """Yield the function's results in the order of the items, computed side by side on a CPU.

    Where only one runs at a time, they are computed `in_turn`.

    Args:
        function: computes one result, in another thread but in the caller's gradient mode.
        items: what to compute it of; each is let go once it is done.
        device: where it computes.
        cost: begin with the items that cost most, so that no long one is left for the end.
        pinned: let an item's place decide on its lane, the same one in every call with as many items.

    Raises:
        Exception: of the item that was begun first among those that failed. None is begun after a failure.
    """
    count, threads = lanes(len(items), device), torch.get_num_threads()
    if count == 1:
        turns = in_turn(function, items)
        del items  # which would hold on to all of them
        yield from turns
        return
    costs = [cost(item) if cost else 0 for item in items]
    order = sorted(range(len(costs)), key=lambda place: -costs[place])
    work = _Work(function, items, order)
    del items
    shared = iter(order)
    shares = [iter(order[lane::count]) if pinned else shared for lane in range(count)]
    running = [_pool(lane).submit(work.run, share, threads // count) for lane, share in enumerate(shares)]
    try:
        while work.wait():
            yield work.take()
    finally:
        work.stopped = True
        wait(running)
        torch.set_num_threads(threads)  # a thread yet to come begins with what was set last, in whichever thread
    work.raise_first()


def in_turn(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yield the function's results, each computed in the caller's thread as it is asked for."""
    left = deque(items)
    del items
    while left:
        yield function(left.popleft())


def _pool(lane: int) -> ThreadPoolExecutor:
    while lane >= len(_pools):
        _pools.append(ThreadPoolExecutor(1, f"lane-{len(_pools)}"))
    return _pools[lane]


class _Work(Generic[Item, Result]):
    """Items to compute, their results until these are taken in turn, and what failed."""

    def __init__(self, function: Callable[[Item], Result], items: Iterable[Item], order: list[int]):
        self._function, self._order = function, order
        self._items = dict(enumerate(items))
        self._results: dict[int, Result] = {}
        self._errors: dict[int, BaseException] = {}
        self._taken = 0
        self._changed = threading.Condition()
        self._gradients = torch.is_grad_enabled()
        self.stopped = False

    def run(self, places: Iterator[int], threads: int) -> None:
        """Compute items, by their places, until none is left or one has failed; in a lane."""
        _here.is_lane = True
        torch.get_num_threads()  # the first call sets a thread's number to what another thread has set last
        torch.set_num_threads(threads)
        with torch.set_grad_enabled(self._gradients):
            while (place := self._next(places)) is not None:
                self._compute(place)

    def _next(self, places: Iterator[int]) -> int | None:
        with self._changed:  # an iterator that lanes share
            return None if self.stopped else next(places, None)

    def _compute(self, place: int) -> None:
        try:
            result = self._function(self._items.pop(place))
        except BaseException as error:  # noqa: BLE001, raised in the caller's thread
            with self._changed:
                self.stopped, self._errors[place] = True, error
                self._changed.notify()
        else:
            with self._changed:
                self._results[place] = result
                self._changed.notify()

    def wait(self) -> bool:
        """Wait for the next result in turn; return whether there is one: not behind the last, nor after a failure."""
        if self._taken == len(self._order):
            return False
        with self._changed:
            self._changed.wait_for(lambda: self._errors or self._taken in self._results)
            return not self._errors

    def take(self) -> Result:
        """Return the result that was waited for, and forget it."""
        self._taken += 1
        return self._results.pop(self._taken - 1)

    def raise_first(self) -> None:
        """Raise the error of the item that was begun first, if any failed."""
        if self._errors:
            raise self._errors[min(self._errors, key=self._order.index)]
