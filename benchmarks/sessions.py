"""Sessions of the app without a browser: what a tab sends and receives over its websocket; see `faults.py`."""

import fcntl
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import psutil
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from benchmarks.hostile import Outcomes, spoil
from sds_core.runs import examples
from sds_core.runs.config import RunConfig
from sds_core.runs.events import BlockFinished, JobFinished
from sds_core.runs.experiment import config_in
from sds_core.runs.new_run import create
from sds_core.runs.run_folder import Run, ids, open_run
from tests.records import write_log
from tests.small_runs import config, work_here

ROOT = Path(__file__).parents[1]
INTERVAL = 0.5
"""Seconds between two polls, as the page asks a browser for."""
PATIENCE = 120
SLOWEST, LARGEST = 1.0, 600
"""Limits of the median poll, in seconds, and of the server's resident memory, in MB."""
ENDED = (ForwardMsg.FINISHED_SUCCESSFULLY, ForwardMsg.FINISHED_FRAGMENT_RUN_SUCCESSFULLY)


class Tab:
    """A session on one page: it draws it, presses buttons, and polls the parts that ask for it."""

    def __init__(self, port: int, page: str, query: str):
        self._page, self._query = page, query
        self.polled, self.buttons, self.errors = list[str](), dict[str, str](), list[str]()
        self._socket = connect(f"ws://127.0.0.1:{port}/_stcore/stream", max_size=None)
        self.draw()

    def draw(self, pressed: str = "") -> None:
        """Run the page, once a button of this label was pressed if one is named."""
        message = self._message()
        if pressed:
            message.rerun_script.widget_states.widgets.add(id=self.buttons[pressed], trigger_value=True)
        self._run(message)

    def poll(self) -> float:
        """Run the parts that ask for it; return the seconds until the answer was there."""
        began = time.monotonic()
        for part in list(self.polled):
            message = self._message()
            message.rerun_script.fragment_id, message.rerun_script.is_auto_rerun = part, True
            self._run(message)
        return time.monotonic() - began

    def close(self) -> None:
        self._socket.close()

    def _message(self) -> BackMsg:
        message = BackMsg()
        message.rerun_script.page_name, message.rerun_script.query_string = self._page, self._query
        return message

    def _run(self, asked: BackMsg) -> None:
        """Send a message and take in what comes, until the script has ended."""
        self._socket.send(asked.SerializeToString())
        while True:
            message = ForwardMsg.FromString(self._socket.recv(PATIENCE))
            element = message.delta.new_element
            if message.HasField("new_session") and not message.metadata.run.fragment_ids:
                self.polled, self.buttons = [], {}
            if message.HasField("auto_rerun"):
                self.polled.append(message.auto_rerun.fragment_id)
            if element.HasField("button"):
                self.buttons[element.button.label] = element.button.id
            if element.HasField("exception"):
                self.errors.append(element.exception.message)
            if message.HasField("script_finished") and message.script_finished in ENDED:
                return


@contextmanager
def serve(port: int) -> Iterator[psutil.Process]:
    """Serve the app with this process's folders."""
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)]
    command += ["--server.fileWatcherType", "none"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health"):
                    break
            except (urllib.error.URLError, ConnectionError):
                assert process.poll() is None and time.monotonic() < deadline, "the app did not start"
                time.sleep(0.1)
        yield psutil.Process(process.pid)
    finally:
        process.kill()
        process.wait()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


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
