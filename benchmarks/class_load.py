"""A class of thirty on one laptop: how long do clicks take, and how much memory does its server hold?

    python benchmarks/class_load.py [--clients 30] [--seconds 180] [--pause 10 20]

Starts `sds app --class` with the shipped examples, and lets as many visitors in, each on a websocket of its own: they
walk through the eight questions with a guess and a reveal each, and look at Micro, Layer lab, Studio and Compare in
between, with 10 to 20 s between two clicks. A click's time goes from its message to the end of the page's script; a
browser draws a little longer. The Layer lab is set to a few settings, as in a class; the first to ask for one waits for
it. Run nothing else meanwhile.
"""

import argparse
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from sds_core.lesson.questions import STEPS, Choice
from sds_core.models.device import machine
from tests.pages.session import Seen, Session

ROOT = Path(__file__).parents[1]
GOAL = 2.0
"""Seconds that 95 % of the clicks may take."""
ASIDE = (
    *(("lab", f"dual={dual}&rounds={rounds}&pattern={pattern}") for dual in ("on", "off") for rounds in (1, 4, 12)
      for pattern in ("2:4", "50%")),
    *(("micro", f"seed=10&pruner={pruner}&step={step}") for pruner in ("wanda", "sparsegpt")
      for step in ("predict", "prune", "dense", "again")),
    *(("studio", f"stage={stage}&layer={block}.mlp.up_proj") for stage in ("sparse", "final") for block in (1, 9, 20)),
    ("compare", ""),
)  # fmt: skip
"""Pages and settings looked at beside the Walk."""
OFTEN = 0.3
"""Share of the clicks that lead to them."""


@contextmanager
def served(port: int) -> Iterator[tuple[str, psutil.Process]]:
    """Start both servers; yield the class's address and its server's process."""
    with tempfile.TemporaryDirectory() as folder:
        own = os.environ | {"SDS_RUNS": f"{folder}/runs", "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "sds_core", "app", "--class", "--port", str(port)]
        process = subprocess.Popen(command, cwd=folder, env=own, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            assert process.stdout is not None
            address = next(
                found[1] for line in process.stdout if (found := re.search(r"joins at (\S+)", line.decode()))
            )
            threading.Thread(target=process.stdout.read, daemon=True).start()
            server = wait_for(address, process)
            yield address, server
        finally:
            process.terminate()
            process.wait(60)


def wait_for(address: str, process: subprocess.Popen) -> psutil.Process:
    """Wait until the class's server answers; return its process."""
    while True:
        assert process.poll() is None, "the servers did not start"
        try:
            Session(address).close()
        except OSError:
            time.sleep(0.5)
            continue
        return next(one for one in psutil.Process(process.pid).children() if "serve.py" in " ".join(one.cmdline()))


class Visitor(threading.Thread):
    """One of the class."""

    def __init__(self, number: int, address: str, ends: float, pause: tuple[float, float]):
        super().__init__(daemon=True)
        self.dice, self.address, self.ends, self.pause = random.Random(number), address, ends, pause
        self.took: list[tuple[str, float]] = []
        self.failed: list[str] = []

    def run(self) -> None:
        time.sleep(self.dice.uniform(0, self.pause[1]))
        try:
            session = Session(self.address)
            self.note("join", session.open(""))
            for number in [*range(1, len(STEPS) + 1)] * 100:
                for _ in self.step(session, number):
                    if time.monotonic() > self.ends:
                        session.close()
                        return
        except Exception as error:  # noqa: BLE001 - whatever went wrong is told at the end
            self.failed.append(f"{type(error).__name__}: {error}")

    def step(self, session: Session, number: int) -> Iterator[None]:
        """Go through a question; yield after each click and the pause behind it."""
        guess = self.dice.choice("ab" if isinstance(STEPS[number - 1].guess, Choice) else ["5", "20", "45"])
        seen = session.open("walk", f"step={number}")
        yield self.note("walk", seen)
        yield self.note("guess", session.pick(seen, "walk", step=number, guess=guess, shown=False))
        yield self.note("reveal", session.pick(seen, "walk", step=number, guess=guess, shown=True))
        if self.dice.random() < 3 * OFTEN:
            page, query = self.dice.choice(ASIDE)
            yield self.note(page, session.open(page, query))

    def note(self, what: str, seen: Seen) -> None:
        self.took.append((what, seen.seconds))
        if seen.failed:
            self.failed.append(f"{what}: {seen.said}")
        time.sleep(self.dice.uniform(*self.pause))


def main() -> int:
    """Let the class in, and print what its clicks took."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--clients", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--pause", type=float, nargs=2, default=(10.0, 20.0))
    parser.add_argument("--port", type=int, default=8601)
    options = parser.parse_args()
    with served(options.port) as (address, server):
        at_rest = server.memory_info().rss
        ends = time.monotonic() + options.seconds
        visitors = [Visitor(i, address, ends, tuple(options.pause)) for i in range(options.clients)]
        cpu = sum(server.cpu_times()[:2])
        for one in visitors:
            one.start()
        most = at_rest
        while any(one.is_alive() for one in visitors):
            most = max(most, server.memory_info().rss)
            time.sleep(0.5)
        cpu = sum(server.cpu_times()[:2]) - cpu
    took = [pair for one in visitors for pair in one.took]
    print(f"{machine()}, load {os.getloadavg()[0]:.1f}; {options.clients} visitors, {options.seconds:.0f} s")
    print("\n| click | how many | median s | 95 % within s | longest s |\n|---|---|---|---|---|")
    for what in (*dict.fromkeys(name for name, _ in took), ""):
        row(what or "all", [seconds for name, seconds in took if what in ("", name)])
    print(f"\nServer: {at_rest / 1e6:.0f} MB at the start, {most / 1e6:.0f} MB at most; {cpu:.0f} s of processor time.")
    failed = [text for one in visitors for text in one.failed]
    if failed:
        print(f"{len(failed)} failed, such as {failed[0]}")
    within = share(95, [seconds for _, seconds in took])
    print(f"95 % of all clicks within {within:.2f} s, aim {GOAL:.0f} s")
    return int(bool(failed) or within > GOAL)


def row(what: str, seconds: list[float]) -> None:
    """Print a row of the table."""
    middle, most = statistics.median(seconds), max(seconds)
    print(f"| {what} | {len(seconds)} | {middle:.2f} | {share(95, seconds):.2f} | {most:.2f} |")


def share(per_cent: float, seconds: list[float]) -> float:
    """Return the time within which this share of the clicks was answered."""
    ordered = sorted(seconds)
    return ordered[min(len(ordered) - 1, int(len(ordered) * per_cent / 100))]


if __name__ == "__main__":
    sys.exit(main())
