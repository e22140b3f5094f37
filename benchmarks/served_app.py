"""The app as benchmarks see it: a server, browsers, and what an action takes."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from sds_core.runs.run_folder import Run


@dataclass(frozen=True)
class App:
    """The app as it is served, and how long to look at it."""

    visit: Any
    """Opens a browser."""
    runs: Path
    examples: list[Run]
    polls: int
    quiet: float
    """Seconds to watch an idle page."""

    @property
    def charts(self) -> dict[str, str]:
        """Paths of the pages with charts."""
        return {
            "Compare": f"/compare?runs={','.join(run.id for run in self.examples)}",
        }


def row(what: str, measured: str, target: str = "") -> None:
    """Print one row of the table."""
    print(f"| {what} | {measured} | {target} |", flush=True)


def server_process() -> psutil.Process:
    """Return the process of the server."""
    (found,) = [p for p in psutil.Process().children() if "streamlit" in p.cmdline()]
    return found


def seconds(act: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds that an action takes: wall clock, and CPU of the server."""
    process = server_process()
    cpu, began = sum(process.cpu_times()[:2]), time.monotonic()
    act()
    return time.monotonic() - began, sum(process.cpu_times()[:2]) - cpu


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
