"""What the Studio takes: the sentence of clicks, a finished block on its way to the picture, another layer, a poll."""

import fcntl
import os
import re
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.served_app import App, browser, row
from sds_core.files import cache_folder
from sds_core.runs.event_log import to_line
from sds_core.runs.events import BlockFinished
from sds_core.runs.run_folder import Run
from tests.pages.browser import IDLE, server

LIVE = "sds-admm-wanda"
"""The example whose last phase is replayed."""
BLOCKS, LAYERS = 10, 20
"""Blocks that are replayed, and layers that are clicked."""
CURVE = ".studio .cell.dense path.edge"
"""Deep inside the page: of the layer in view nothing else is so sure to change with it."""
ROOTS = "[...document.querySelectorAll('*')].map(one => one.shadowRoot).filter(Boolean).concat(document)"
FIND = f"const find = selector => {ROOTS}.map(root => root.querySelector(selector)).find(Boolean)"
CLICK_LAYER = f"""at => new Promise(done => {{
    {FIND};
    const before = find('{CURVE}').getAttribute('d'), began = performance.now();
    find(`#layer-${{at}}`).dispatchEvent(new MouseEvent('click', {{ bubbles: true }}));
    const look = () => find('{CURVE}').getAttribute('d') === before && performance.now() - began < 10000
        ? requestAnimationFrame(look) : done(performance.now() - began);
    look();
}})"""


def sentence(app: App) -> None:
    """Count clicks and seconds of the whole sentence with the quick preset's demo, from an empty folder of runs."""
    with tempfile.TemporaryDirectory() as folder, server(Path(folder), cache_folder()) as address:
        visitor = app.visit(address).open("/studio")
        page, clicks, began = visitor.page, 0, time.monotonic()
        page.locator(CURVE).wait_for(state="attached")
        for label, following in (("Prune", "Re-dense"), ("Re-dense", "Prune again"), ("Prune again", None)):
            pressed = time.monotonic()
            page.locator(".st-key-phase button", has_text=re.compile(f"^{label}$")).first.click()
            clicks += 1
            page.get_by_text(re.compile(r"^(?!30)[1-9]\d* ?of 30 blocks")).first.wait_for(timeout=600_000)
            row(f"Studio, {label}: from the click to the picture of the first block", _since(pressed))
            done = page.locator(".st-key-phase button", has_text=following or "All phases done")
            done.first.wait_for(timeout=1_200_000)
            row(f"Studio, {label}: the whole phase", _since(pressed))
        row("Studio, clicks of the sentence from an empty folder", str(clicks), "≤ 5")
        row("Studio, seconds of the sentence", _since(began))
        page.context.close()


def live(app: App) -> None:
    """Measure a block from its event to the picture, and the bytes of it; then polls without news."""
    run = next(run for run in app.examples if run.id.startswith(LIVE))
    with replayed(run) as blocks, browser(app) as visitor:
        received = _count_bytes(visitor)
        visitor.open("/studio?experiment=examples")
        page = visitor.page
        page.locator(CURVE).wait_for(state="attached")
        page.wait_for_timeout(3000)
        seconds, sizes = [], []
        for number, line in enumerate(blocks, 1):
            received.clear()
            with open(run.log.path, "a") as file:
                file.write(line)
            began = time.monotonic()
            page.get_by_text(re.compile(rf"^{number} ?of 30 blocks")).first.wait_for()
            seconds.append(time.monotonic() - began)
            page.wait_for_timeout(700)
            sizes.append(max(received))
            page.wait_for_timeout(137 * number % 500)  # at any time between two polls
        row("Studio, six runs: from a finished block to its picture, median", f"{statistics.median(seconds):.2f} s")
        row("Studio, six runs: the same, slowest", f"{max(seconds):.2f} s", "≤ 2 s")
        row(
            "Studio, six runs: bytes of a block, median",
            f"{statistics.median(sizes) / 1e3:.1f} kB",
            "≤ 15 kB",
        )
        received.clear()
        page.wait_for_timeout(10_000)
        row("Studio, six runs: bytes of a poll without news", f"{sum(received) / 20 / 1e3:.2f} kB")


def layers(app: App) -> None:
    """Measure from a click on a layer of the map to its distributions."""
    with browser(app, "/studio?experiment=examples") as visitor:
        visitor.page.locator(CURVE).wait_for(state="attached")
        for name in ("first", "second"):
            took = []
            for i in range(LAYERS):
                took.append(visitor.page.evaluate(CLICK_LAYER, (37 * i + 11) % 210))
                visitor.page.wait_for_selector(IDLE)
                visitor.page.wait_for_timeout(100)
            median = f"{statistics.median(took) / 1e3:.2f} s"
            row(f"Studio, six runs: another layer, {name} time, median of {LAYERS}", median, "≤ 0.25 s")
            row(f"Studio, six runs: another layer, {name} time, slowest", f"{max(took) / 1e3:.2f} s", "≤ 0.25 s")


@contextmanager
def replayed(run: Run) -> Iterator[list[str]]:
    """Let a finished run stand at the start of its last phase; yield the lines that its log then gets.

    Its lock is held, as by a worker; afterwards it is as it was.
    """
    kept = {path: path.read_bytes() for path in (run.log.path, run.folder / "result.json")}
    events = run.log.read()
    own = [i for i, event in enumerate(events) if isinstance(event, BlockFinished) and not event.inherited_from]
    run.log.path.write_text("".join(to_line(event) for event in events[: own[0]]))
    (run.folder / "result.json").unlink()
    descriptor = os.open(run.lock_path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield [to_line(events[i]) for i in own[:BLOCKS]]
    finally:
        for path, content in kept.items():
            path.write_bytes(content)
        os.close(descriptor)


def _count_bytes(visitor: Any) -> list[int]:
    """Return the list that the sizes of what the browser receives are added to."""
    sizes: list[int] = []
    visitor.page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: sizes.append(len(frame))))
    return sizes


def _since(began: float) -> str:
    return f"{time.monotonic() - began:.2f} s"
