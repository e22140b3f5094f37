"""Sessions of the app under hostile addresses, killed servers and many visitors; see `faults.py`."""

import fcntl
import os
import random
import shutil
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from websockets.exceptions import ConnectionClosed

from benchmarks.hostile import Outcomes, spoil
from benchmarks.tabs import INTERVAL, PATIENCE, Tab, free_port, serve
from sds_core.runs import examples
from sds_core.runs.config import RunConfig
from sds_core.runs.events import BlockFinished, JobFinished
from sds_core.runs.experiment import config_in
from sds_core.runs.new_run import create
from sds_core.runs.run_folder import Run, ids, open_run
from tests.records import write_log
from tests.small_runs import config, work_here

SLOWEST, LARGEST = 1.0, 600
"""Limits of the median poll, in seconds, and of the server's resident memory, in MB."""
PAGES = ("", "walk", "micro", "lab", "studio", "compare", "text", "report", "run", "layer")
PARAMETERS = {
    "experiment": "killed",
    "run": "base-wanda-2-4-000000",
    "runs": "base-wanda-2-4-000000,base-wanda-2-4-000001",
    "layer": "3.mlp.up_proj",
    "cell": "3.mlp.up_proj",
    "stage": "redense",
    "round": "12",
    "show": "loss",
    "step": "3",
    "pruner": "sparsegpt",
    "seed": "7",
    "column": "5",
    "dual": "off",
    "follow": "1",
    "present": "1",
    "details": "1",
    "manage": "all",
}
"""What the pages take from an address, with values that some of them know."""


def hostile_addresses(count: int, dice: random.Random) -> Outcomes:
    """Open pages with spoiled parameters; each must be drawn without an exception."""
    examples.example("base-wanda")
    port = free_port()
    with serve(port):
        for i in range(count):
            query = "&".join(f"{name}={quote(_spoilt(value, dice))}" for name, value in PARAMETERS.items())
            tab = Tab(port, PAGES[i % len(PAGES)], query)
            tab.close()
            yield "hostile address", f"CRASH: {tab.errors[0][:60]}" if tab.errors else "the page is drawn"


def _spoilt(value: str, dice: random.Random) -> bytes:
    """Return one parameter in two as it is, or absurdly long, or with wrong bytes."""
    match dice.randrange(6):
        case 0:
            return value.encode() * 10_000
        case 1 | 2:
            return spoil(value.encode(), dice)[:10_000]
        case _:
            return value.encode()


def killed_servers(model: Path, count: int, dice: random.Random) -> Outcomes:
    """Kill the server while two tabs poll a run that was started in one of them; both go on at the next server."""
    longer = {"samples": 100, "eval_windows": 100}
    work_here([create(config(model, experiment="killed", method="base", schedule="staged", phase=1, **longer))])
    undisturbed = create(config_in("killed", {"method": "sds", "phase": 2}))
    work_here([undisturbed])
    wanted = undisturbed.finished_result().perplexity, undisturbed.checkpoints("redense")
    undisturbed.delete()
    for _ in range(count):
        known, port = set(ids()), free_port()
        with serve(port) as server:
            tabs = [_tab(port) for _ in range(2)]
            tabs[0].draw("Re-dense")
            (new,) = set(ids()) - known
            run = open_run(new)
            tabs[1].draw()
            until = time.monotonic() + dice.uniform(0, 3)
            while time.monotonic() < until:
                _poll(tabs)
            server.kill()
        lost = sum(_is_gone(tab) for tab in tabs)
        with serve(port):
            again = [_tab(port) for _ in tabs]
            live = any(tab.polled for tab in again)
            deadline = time.monotonic() + PATIENCE
            while any(tab.polled for tab in again) and time.monotonic() < deadline:
                _poll(again)
            errors = [error for tab in (*tabs, *again) for error in tab.errors]
        same = run.state() == "finished" and wanted == (run.finished_result().perplexity, run.checkpoints("redense"))
        became = "unharmed" if same and not errors and lost == 2 else f"LOST: {run.state()} {errors}"
        seen = "seen live" if live else "seen finished"
        yield "server killed while two tabs poll a run", f"run {became}, {seen} in both at the next server"
        run.delete()


def _tab(port: int) -> Tab:
    return Tab(port, "studio", "experiment=killed")


def _poll(tabs: list[Tab]) -> None:
    for tab in tabs:
        tab.poll()
    time.sleep(INTERVAL)


def _is_gone(tab: Tab) -> bool:
    try:
        tab.draw()
    except (ConnectionClosed, OSError):
        return True
    return False


def many_sessions(sessions: int, polls: int) -> Outcomes:
    """Let many sessions poll a live run of thirty blocks: a shipped one, whose record grows anew."""
    run, stop, port = _replayed(), threading.Event(), free_port()
    seconds, errors = list[float](), list[str]()

    def visit() -> None:
        tab = Tab(port, "studio", "experiment=replayed")
        assert tab.polled, "the page does not poll"
        for _ in range(polls):
            took = tab.poll()
            seconds.append(took)
            time.sleep(max(0.0, INTERVAL - took))
        errors.extend(tab.errors)
        tab.close()

    with serve(port) as server, _locked(run):
        growing = threading.Thread(target=_grow, args=(run, stop))
        growing.start()
        visitors = [threading.Thread(target=visit) for _ in range(sessions)]
        for thread in visitors:
            thread.start()
        memory = 0
        while any(thread.is_alive() for thread in visitors):
            memory = max(memory, server.memory_info().rss >> 20)
            time.sleep(0.2)
        stop.set()
        growing.join()
    run.delete()
    median, slow = statistics.median(seconds), statistics.quantiles(seconds, n=20)[-1]
    found = f"median {median:.2f} s, 95 % within {slow:.2f} s, server {memory} MB"
    found += f", SLOWER than {SLOWEST:g} s" * (median > SLOWEST) + f", MORE than {LARGEST} MB" * (memory > LARGEST)
    found += f", CRASH: {errors[0]}" if errors or len(seconds) < sessions * polls else ""
    yield f"{sessions} sessions poll a live run, {polls} times each", found


def _replayed() -> Run:
    """Make a run that the base pruner of the shipped examples seems to be at work on."""
    shipped = examples.example("base-wanda")
    run = create(RunConfig.from_dict(shipped.config.to_dict() | {"experiment": "replayed"}))
    shutil.copytree(shipped.folder / "distributions", run.folder / "elsewhere")
    (run.folder / "distributions").mkdir()
    write_log(run, [event for event in shipped.log.read() if not isinstance(event, BlockFinished | JobFinished)])
    return run


def _grow(run: Run, stop: threading.Event) -> None:
    """Finish one block after the other, a second each."""
    log = run.writer()
    for event in examples.example("base-wanda").log.read():
        if isinstance(event, BlockFinished) and not stop.wait(1):
            name = f"{event.phase}-{event.block:03}.parquet"
            shutil.copy(run.folder / "elsewhere" / name, run.folder / "distributions" / name)
            log.append(event)


@contextmanager
def _locked(run: Run) -> Iterator[None]:
    """Hold the run's lock as a worker does."""
    descriptor = os.open(run.lock_path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(descriptor)
