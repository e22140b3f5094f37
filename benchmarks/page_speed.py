"""How soon pages show something, and how quiet they are: first paint, charts, clicks, traffic, memory, figure sizes.

    python benchmarks/page_speed.py [paint charts clicks idle run memory sizes] [--polls 1000] [--quiet 20]

Serves the app on the runs that come along and looks at it with Chromium, through playwright; without them it says so
and ends. Nothing else should run meanwhile: the load of the machine is printed, and for what the server computes its
CPU seconds stand beside the seconds on the clock.
"""

import argparse
import fcntl
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from sds_core.models.device import machine
from sds_core.models.load import cache_folder
from sds_core.runs.config import PRESETS, RunConfig
from sds_core.runs.examples import take_in
from sds_core.runs.run_folder import Run, create
from tests.pages.browser import CHROMIUM, IDLE, server, visitors

CHART = ".js-plotly-plot .main-svg"
PARTS = ["paint", "charts", "clicks", "idle", "run", "memory", "sizes"]
TABS = 4
"""Tabs that poll at the same time: one polls twice a second, and a thousand polls would take eight minutes."""
PAGES = {
    "layer": ("pages/layer.py", {"cell": "20.mlp.up_proj"}),
    "compare": ("pages/compare.py", {}),
    "lab": ("pages/lab.py", {}),
    "micro": ("pages/micro.py", {"step": "dense"}),
}
"""Pages with charts, whose largest figure is looked for."""


def tell(what: str, measured: str, bar: str = "") -> None:
    """One line of the table."""
    print(f"| {what} | {measured} | {bar} |", flush=True)


def served() -> psutil.Process:
    """The process of the server."""
    (found,) = [p for p in psutil.Process().children() if "streamlit" in p.cmdline()]
    return found


def seconds(act: Callable[[], object]) -> tuple[float, float]:
    """Seconds that something takes, on the clock and of the server's CPU."""
    process = served()
    cpu, began = sum(process.cpu_times()[:2]), time.monotonic()
    act()
    return time.monotonic() - began, sum(process.cpu_times()[:2]) - cpu


def taken(measured: tuple[float, float]) -> str:
    return f"{measured[0]:.2f} s (CPU {measured[1]:.2f} s)"


@contextmanager
def page(visit: Any, path: str = "") -> Iterator[Any]:
    """A browser with nothing cached, on a page if one is named."""
    visitor = visit()
    try:
        yield visitor.open(path) if path else visitor
    finally:
        assert visitor.errors == [] and visitor.left == [], (visitor.errors, visitor.left)
        visitor.page.context.close()


def first_paint(visit: Any) -> None:
    """Start: until its title stands there, and until all of it does."""
    for state in ("cold server", "warm server"):
        with page(visit) as visitor:

            def shown(selector: str, visitor: Any = visitor) -> None:
                visitor.page.wait_for_selector(selector)

            visitor.page.goto("about:blank")
            title = seconds(lambda v=visitor: (v.page.goto(v.address + "/", wait_until="commit"), shown("h1")))
            rest = seconds(lambda: shown(IDLE))
            tell(f"Start, title in view, {state}", taken(title), "< 2 s")
            tell(f"Start, everything in view, {state}", f"{title[0] + rest[0]:.2f} s")


def first_chart(visit: Any, paths: dict[str, str]) -> None:
    """Pages with charts, until the first is drawn; a browser that was there has the chart library in its cache."""
    for name, path in paths.items():

        def drawn(visitor: Any, path: str = path) -> None:
            visitor.page.goto(visitor.address + path, wait_until="commit")
            visitor.page.wait_for_selector(CHART)

        with page(visit) as visitor:
            tell(f"{name}, first chart, first visit to the server", taken(seconds(lambda v=visitor: drawn(v))))
        with page(visit) as visitor:
            tell(f"{name}, first chart, warm server, new browser", taken(seconds(lambda v=visitor: drawn(v))), "< 2 s")
            visitor.open("/")
            again = seconds(lambda v=visitor: drawn(v))
            tell(f"{name}, first chart, warm server, browser that was there", taken(again), "< 2 s")
            visitor.open(f"/report?{path.partition('?')[2]}")
            link = visitor.page.locator("[data-testid=stSidebarNavLink]").get_by_text(name, exact=True)

            def turned(v: Any = visitor, link: Any = link) -> None:
                link.click()
                v.page.wait_for_selector(CHART)

            tell(f"{name}, first chart, from a click in the side bar", taken(seconds(turned)), "< 2 s")


def counted(visitor: Any, path: str) -> list[str]:
    """What goes to and fro from now on; the visitor must not have opened a page yet."""
    traffic: list[str] = []

    def listen(socket: Any) -> None:
        socket.on("framesent", lambda _: traffic.append("sent"))
        socket.on("framereceived", lambda _: traffic.append("received"))

    visitor.page.on("websocket", listen)
    visitor.open(path)
    visitor.page.on("request", lambda _: traffic.append("request"))
    return traffic


def idle_traffic(visit: Any, paths: dict[str, str], quiet: float) -> None:
    """Frames and requests of pages on which nothing is done."""
    for name, path in paths.items():
        with page(visit) as visitor:
            traffic = counted(visitor, path)
            visitor.page.wait_for_timeout(5000)  # late fonts
            traffic.clear()
            visitor.page.wait_for_timeout(1000 * quiet)
            tell(f"{name}, idle for {quiet:g} s", f"{len(traffic)} frames and requests", "0")


def first_progress(visit: Any, runs: Path) -> None:
    """From the click on Run, demo model and quick preset, to the progress bar and to the loaded model; then cancel."""
    before = set(runs.iterdir())
    with page(visit, "/run") as visitor:
        visitor.page.get_by_role("radio", name="quick").click()
        visitor.idle()
        start = visitor.page.locator(".st-key-start button")
        bar = visitor.page.locator("[data-testid=stProgress]").first
        began = time.monotonic()
        start.click()
        bar.wait_for()
        tell("Run, from the click to the progress bar", f"{time.monotonic() - began:.2f} s", "< 10 s")
        visitor.page.get_by_text(re.compile(r"block \d+ of \d+")).first.wait_for()
        tell("Run, from the click to the loaded model", f"{time.monotonic() - began:.2f} s")
        (run,) = [Run(path) for path in set(runs.iterdir()) - before]
        run.cancel()
        while run.state() in ("queued", "running"):
            time.sleep(0.2)


def memory_of_polling(visit: Any, polls: int) -> None:
    """Resident memory of the server before and after polls of a run that lives and goes on."""
    run = create(RunConfig.from_dict(PRESETS["quick"] | {"title": "polled"}))
    run.log.append({"kind": "model", "blocks": 10**6})
    descriptor = os.open(run.lock_path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    tabs = [visit() for _ in range(TABS)]
    traffics = [counted(tab, f"/run?run={run.id}") for tab in tabs]
    sent = lambda: sum(traffic.count("sent") for traffic in traffics)

    def poll(count: int) -> None:
        goal, block = sent() + count, 0
        while sent() < goal:
            run.log.append({"kind": "block", "phase": "fused", "stage": "final", "block": block, "seconds": 1.0})
            block += 1
            tabs[block % TABS].page.wait_for_timeout(250)

    poll(100)  # what a first poll loads is not counted
    before, began = served().memory_info().rss, time.monotonic()
    poll(polls)
    after, took = served().memory_info().rss, time.monotonic() - began
    os.close(descriptor)
    for tab in tabs:
        tab.page.context.close()
    change = f"{before / 1e6:.1f} → {after / 1e6:.1f} MB ({(after - before) / 1e6:+.1f} MB)"
    tell(f"server's memory, {polls} polls of a running run, {TABS} tabs in {took:.0f} s", change)


def largest_figures(examples: list[Run]) -> None:
    """Bytes of the largest figure that each page sends to the browser."""
    from streamlit.testing.v1 import AppTest

    for name, (script, parameters) in PAGES.items():
        app = AppTest.from_file(str(Path(__file__).parents[1] / "app.py"), default_timeout=120).run()
        app.switch_page(script)
        named = {"layer": {"run": examples[-1].id}, "compare": {"runs": ",".join(run.id for run in examples)}}
        for key, value in (parameters | named.get(name, {})).items():
            app.query_params[key] = value
        app.run()
        assert not app.exception
        sizes = [len(chart.proto.spec.encode()) for chart in app.get("plotly_chart")]
        tell(f"{name}, the largest of {len(sizes)} figures", f"{max(sizes) / 1e3:.0f} kB")


def interactions(visit: Any) -> None:
    """From a click to the new picture; no setting has been computed before."""
    clicks = {
        "Micro, another pruner": ("/micro?step=prune", "SparseGPT"),
        "Lab, memory off, Wanda": ("/lab", "off"),
        "Lab, memory off, SparseGPT": ("/lab?pruner=sparsegpt", "off"),
    }
    drawn = "[...document.querySelectorAll('.js-plotly-plot')].map(plot => JSON.stringify(plot.data)).join()"
    for name, (path, choice) in clicks.items():
        with page(visit, path) as visitor:
            visitor.page.wait_for_selector(CHART)
            before = visitor.page.evaluate(drawn)
            button = visitor.page.get_by_role("radio", name=choice, exact=True)

            def click(visitor: Any = visitor, button: Any = button, before: str = before) -> None:
                button.click()
                visitor.page.wait_for_function(f"before => {drawn} !== before", arg=before, polling=50)

            tell(name, taken(seconds(click)), "< 1 s")


def main(parts: list[str], polls: int, quiet: float) -> None:
    print(f"{machine()}\nload {os.getloadavg()[0]:.1f}\n\n| what | measured | bar |\n|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder)
        os.environ["SDS_RUNS"] = folder
        examples = take_in()
        paths = {
            "Layer": f"/layer?run={examples[-1].id}&cell=20.mlp.up_proj",
            "Compare": f"/compare?runs={','.join(run.id for run in examples)}",
        }
        with server(runs, cache_folder()) as address, visitors(address) as visit:
            measures = {
                "paint": lambda: first_paint(visit),
                "charts": lambda: first_chart(visit, paths),
                "clicks": lambda: interactions(visit),
                "idle": lambda: idle_traffic(visit, {"Run": f"/run?run={examples[0].id}"} | paths, quiet),
                "run": lambda: first_progress(visit, runs),
                "memory": lambda: memory_of_polling(visit, polls),
                "sizes": lambda: largest_figures(examples),
            }
            assert list(measures) == PARTS
            for part in parts or PARTS:
                measures[part]()
    print(f"\nload {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    if CHROMIUM is None or find_spec("playwright") is None:
        sys.exit("This needs Chromium and playwright (requirements-dev.txt): one of them is not on this machine.")
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("parts", nargs="*", choices=PARTS, metavar="PART", help=f"of {' '.join(PARTS)} (default: all)")
    parser.add_argument("--polls", type=int, default=1000, help="polls of a running run (default: %(default)s)")
    parser.add_argument("--quiet", type=float, default=20, help="seconds to watch an idle page (default: %(default)s)")
    arguments = parser.parse_args()
    main(arguments.parts, arguments.polls, arguments.quiet)
