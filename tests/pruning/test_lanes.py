"""Computations side by side: order, threads, errors, and what is let go."""

import threading
import time
import weakref

import pytest
import torch

from sds_core.pruning.lanes import as_they_come, in_turn, lanes, side_by_side

CPU = torch.device("cpu")


@pytest.fixture(params=[1, 2, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def slower_first(item: int) -> int:
    time.sleep(0.01 if item == 0 else 0)
    return item * item


def test_results_come_in_the_order_of_the_items(threads: int) -> None:
    assert side_by_side(slower_first, range(7), CPU) == [item * item for item in range(7)]
    assert side_by_side(slower_first, range(7), CPU, cost=lambda item: item % 3) == [item * item for item in range(7)]
    assert side_by_side(slower_first, range(7), CPU, pinned=True) == [item * item for item in range(7)]
    assert side_by_side(slower_first, [], CPU) == []


def test_they_do_run_side_by_side() -> None:
    torch.set_num_threads(2)
    try:
        meeting = threading.Barrier(2, timeout=10)
        side_by_side(lambda _: meeting.wait(), range(4), CPU)  # alone, each would wait for ever
    finally:
        torch.set_num_threads(1)


def test_lanes_share_the_threads_and_the_caller_keeps_its_own(threads: int) -> None:
    def inside(_: int) -> tuple[int, int]:
        return torch.get_num_threads(), lanes(4, CPU)

    found = side_by_side(inside, range(2), CPU)
    alone = [(threads, threads)] * 2
    assert found == (alone if threads == 1 else [(threads // 2, 1)] * 2)
    assert torch.get_num_threads() == threads
    late: list[int] = []
    thread = threading.Thread(target=lambda: late.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert late == [threads]


def test_a_lane_keeps_its_share_although_others_set_theirs() -> None:
    """Torch sets a thread's number at its first call to what was set last, in whichever thread."""
    torch.set_num_threads(2)
    try:
        assert side_by_side(lambda _: torch.get_num_threads(), range(2), CPU) == [1, 1]
        torch.set_num_threads(2)
        assert side_by_side(lambda _: torch.get_num_threads(), range(2), CPU) == [1, 1]
    finally:
        torch.set_num_threads(1)


def test_one_runs_at_a_time_on_a_device_and_inside_a_lane(threads: int) -> None:
    here = threading.current_thread()
    assert side_by_side(lambda _: threading.current_thread(), range(3), torch.device("meta")) == [here] * 3
    nested = side_by_side(
        lambda _: side_by_side(lambda _: threading.current_thread(), range(2), CPU)[1] is threading.current_thread(),
        range(2),
        CPU,
    )
    assert all(nested) or threads == 1


def test_pinned_items_meet_their_lane_again(threads: int) -> None:
    where = [side_by_side(lambda _: threading.get_ident(), range(5), CPU, pinned=True) for _ in range(3)]
    assert where[0] == where[1] == where[2] and len(set(where[0])) == min(threads, 5)


@pytest.mark.parametrize("enabled", [True, False])
def test_the_callers_gradient_mode_holds(threads: int, enabled: bool) -> None:
    with torch.set_grad_enabled(enabled):
        assert side_by_side(lambda _: torch.is_grad_enabled(), range(3), CPU) == [enabled] * 3
    assert side_by_side(lambda _: torch.is_grad_enabled(), range(3), CPU) == [True] * 3


@pytest.mark.parametrize("cost", [None, lambda item: -abs(item - 2)])
def test_the_error_of_the_first_that_was_begun_is_raised_and_nothing_hangs(threads: int, cost) -> None:
    begun: list[int] = []

    def fail(item: int) -> None:
        begun.append(item)
        time.sleep(0.01 if item == 2 else 0.001)  # the later one fails earlier
        if item in (2, 3):
            raise ValueError(item)

    with pytest.raises(ValueError, match="2"):
        side_by_side(fail, range(400), CPU, cost=cost)
    assert len(begun) < 400
    assert side_by_side(slower_first, range(3), CPU) == [0, 1, 4]


def test_an_interrupt_waits_for_what_was_begun_and_begins_nothing(threads: int) -> None:
    working = threading.Event()
    done: list[int] = []

    def work(item: int) -> int:
        working.set()
        time.sleep(0.005)
        done.append(item)
        return item

    results = as_they_come(work, range(100), CPU)
    with pytest.raises(KeyboardInterrupt):
        for _ in results:
            raise KeyboardInterrupt
    results.close()
    finished = len(done)
    time.sleep(0.02)
    assert working.is_set() and len(done) == finished < 100


def test_an_item_is_let_go_once_it_is_done(threads: int) -> None:
    alive: list[weakref.ref] = []

    class Thing:
        pass

    def things() -> list[Thing]:
        made = [Thing() for _ in range(6)]
        alive.extend(weakref.ref(thing) for thing in made)
        return made

    for number, _ in enumerate(as_they_come(lambda thing: None, things(), CPU), 1):
        assert sum(one() is not None for one in alive) <= 6 - number
    alive.clear()
    for number, _ in enumerate(in_turn(lambda thing: None, things()), 1):
        assert sum(one() is not None for one in alive) == 6 - number
