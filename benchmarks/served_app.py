"""The app as benchmarks see it: a server, browsers, and what an action takes."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from sds_core.files import cache_folder
from sds_core.runs.run_folder import Run
from tests.pages.browser import CHROMIUM, FLAGS, Visitor, server


@dataclass(frozen=True)
class App:
    """The app as it is served, and how long to look at it."""

    visit: Callable[..., Visitor]
    """Opens a browser with an empty cache; given an address, on another server."""
    address: str
    runs: Path
    examples: list[Run]
    polls: int
    quiet: float
    """Seconds to watch an idle page."""


@contextmanager
def app(runs: Path, examples: list[Run], polls: int, quiet: float) -> Iterator[App]:
    """Serve a folder of runs."""
    from playwright.sync_api import sync_playwright

    with server(runs, cache_folder()) as address, sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        visit = lambda where=address: Visitor(chromium.new_context(accept_downloads=True), where)
        try:
            yield App(visit, address, runs, examples, polls, quiet)
        finally:
            chromium.close()


def row(what: str, measured: str, target: str = "") -> None:
    """Print one row of the table."""
    print(f"| {what} | {measured} | {target} |", flush=True)


def server_process() -> psutil.Process:
    """Return the process of the server."""
    return next(p for p in psutil.Process().children() if "streamlit" in p.cmdline())


def seconds(act: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds that an action takes: wall clock, and CPU of the server."""
    process = server_process()
    cpu, began = sum(process.cpu_times()[:2]), time.monotonic()
    act()
    return time.monotonic() - began, sum(process.cpu_times()[:2]) - cpu


def wait_until_idle() -> None:
    """Wait until the server has nothing to do: behind its first page it goes on loading."""
    while seconds(partial(time.sleep, 0.5))[1] > 0.05:
        pass


def timed(measured: tuple[float, float]) -> str:
    return f"{measured[0]:.2f} s (CPU {measured[1]:.2f} s)"


@contextmanager
def browser(app: App, path: str = "") -> Iterator[Any]:
    """Open a browser with an empty cache, on a page if one is given; errors and outside requests fail."""
    visitor = app.visit()
    try:
        yield visitor.open(path) if path else visitor
    finally:
        assert visitor.errors == [] and visitor.left == [], (visitor.errors, visitor.left)
        visitor.page.context.close()
