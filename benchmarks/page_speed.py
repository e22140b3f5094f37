"""Response times of the app: first paint, charts, clicks, idle traffic, memory, figure sizes.

    python benchmarks/page_speed.py [paint charts clicks idle run memory sizes] [--polls 1000] [--quiet 20]

Serves the app with the example runs and opens it in Chromium through playwright; both must be installed. Run nothing
else meanwhile: the load of the machine is printed, and the server's CPU seconds beside the wall-clock seconds.
"""

import argparse
import fcntl
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.served_app import App, browser, row, seconds, server_process, timed
from sds_core.models.cache import cache_folder
from sds_core.models.device import machine
from sds_core.runs.config import RunConfig
from sds_core.runs.examples import unpack_all
from sds_core.runs.new_run import create
from sds_core.runs.presets import PRESETS
from sds_core.runs.run_folder import Run
from tests.pages.browser import CHROMIUM, IDLE, server, visitors
from tests.records import block_finished, model_loaded

CHART = ".js-plotly-plot .main-svg, main.picture > *"
TABS = 4
"""Tabs that poll at the same time; a single one, at two polls a second, would need eight minutes for a thousand."""
PAGES = {
    "compare": ("pages/compare.py", {}),
    "lab": ("pages/lab.py", {}),
    "micro": ("pages/micro.py", {"step": "dense"}),
}
"""Pages whose largest figure is measured."""


def first_paint(app: App) -> None:
    """Measure Start: until its title is visible, and until the page is complete."""
    for state in ("cold server", "warm server"):
        with browser(app) as visitor:
            visitor.page.goto("about:blank")
            title = seconds(partial(open_until, visitor, "/", "h1"))
            rest = seconds(partial(visitor.page.wait_for_selector, IDLE))
            row(f"Start, title in view, {state}", timed(title), "< 2 s")
            row(f"Start, everything in view, {state}", f"{title[0] + rest[0]:.2f} s")


def first_chart(app: App) -> None:
    """Measure until the first chart is drawn; an existing browser has the chart library in its cache."""
    for name, path in app.charts.items():
        with browser(app) as visitor:
            measured = seconds(partial(open_until, visitor, path, CHART))
            row(f"{name}, first chart, first visit to the server", timed(measured))
        with browser(app) as visitor:
            measured = seconds(partial(open_until, visitor, path, CHART))
            row(f"{name}, first chart, warm server, new browser", timed(measured), "< 2 s")
            visitor.open("/")
            measured = seconds(partial(open_until, visitor, path, CHART))
            row(f"{name}, first chart, warm server, existing browser", timed(measured), "< 2 s")
            visitor.open(f"/report?{path.partition('?')[2]}")
            measured = seconds(partial(turn_to, visitor, name))
            row(f"{name}, first chart, from a click in the side bar", timed(measured), "< 2 s")


def open_until(visitor: Any, path: str, selector: str) -> None:
    """Go to a page and wait for an element."""
    visitor.page.goto(visitor.address + path, wait_until="commit")
    visitor.page.wait_for_selector(selector)


def turn_to(visitor: Any, page: str) -> None:
    """Click a page in the side bar and wait for its first chart."""
    visitor.page.locator("[data-testid=stTopNavLink]").get_by_text(page, exact=True).click()
    visitor.page.wait_for_selector(CHART)


def counted(visitor: Any, path: str) -> list[str]:
    """Open a page and return the list that its frames and requests are added to."""
    traffic: list[str] = []

    def listen(socket: Any) -> None:
        socket.on("framesent", lambda _: traffic.append("sent"))
        socket.on("framereceived", lambda _: traffic.append("received"))

    visitor.page.on("websocket", listen)
    visitor.open(path)
    visitor.page.on("request", lambda _: traffic.append("request"))
    return traffic


def idle_traffic(app: App) -> None:
    """Count frames and requests of idle pages."""
    for name, path in ({"Runs": f"/studio?manage={app.examples[0].id}"} | app.charts).items():
        with browser(app) as visitor:
            traffic = counted(visitor, path)
            visitor.page.wait_for_timeout(5000)  # late fonts
            traffic.clear()
            visitor.page.wait_for_timeout(1000 * app.quiet)
            row(f"{name}, idle for {app.quiet:g} s", f"{len(traffic)} frames and requests", "0")


def first_progress(app: App) -> None:
    """Measure from the click on Prune (demo, preset quick) to the picture of the first block; then cancel."""
    before = set(app.runs.iterdir())
    with browser(app, "/studio") as visitor:
        start = visitor.page.locator(".st-key-phase button")
        began = time.monotonic()
        start.click()
        visitor.page.locator(".st-key-cancel-phase button").wait_for()
        row("Studio, from the click on Prune to Cancel", f"{time.monotonic() - began:.2f} s", "< 2 s")
        visitor.page.get_by_text(re.compile(r"1 of 30")).first.wait_for()
        row("Studio, from the click on Prune to the first block", f"{time.monotonic() - began:.2f} s")
        (run,) = [Run(path) for path in set(app.runs.iterdir()) - before]
        run.cancel()
        while run.state() in ("queued", "running"):
            time.sleep(0.2)


def memory_of_polling(app: App) -> None:
    """Measure the server's resident memory before and after many polls of a live run."""
    run = create(RunConfig.from_dict(PRESETS["quick"] | {"title": "polled"}))
    log = run.writer()
    log.append(model_loaded(blocks=10**6))
    descriptor = os.open(run.lock_path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    tabs = [app.visit() for _ in range(TABS)]
    traffics = [counted(tab, f"/studio?experiment={run.id}") for tab in tabs]
    sent = lambda: sum(traffic.count("sent") for traffic in traffics)

    def poll(count: int) -> None:
        goal, block = sent() + count, 0
        while sent() < goal:
            log.append(block_finished(block, seconds=1.0))
            block += 1
            tabs[block % TABS].page.wait_for_timeout(250)

    poll(100)  # what the first polls load is not counted
    before, began = server_process().memory_info().rss, time.monotonic()
    poll(app.polls)
    after, took = server_process().memory_info().rss, time.monotonic() - began
    os.close(descriptor)
    for tab in tabs:
        tab.page.context.close()
    change = f"{before / 1e6:.1f} → {after / 1e6:.1f} MB ({(after - before) / 1e6:+.1f} MB)"
    row(f"server memory, {app.polls} polls of a live run, {TABS} tabs in {took:.0f} s", change)


def largest_figures(app: App) -> None:
    """Measure the largest figure or picture that each page sends to the browser."""
    from streamlit.testing.v1 import AppTest

    for name, (script, parameters) in PAGES.items():
        tested = AppTest.from_file(str(Path(__file__).parents[1] / "app.py"), default_timeout=120).run()
        tested.switch_page(script)
        named = {"compare": {"runs": ",".join(run.id for run in app.examples)}}
        for key, value in (parameters | named.get(name, {})).items():
            tested.query_params[key] = value
        tested.run()
        assert not tested.exception
        sizes = [len(chart.proto.spec.encode()) for chart in tested.get("plotly_chart")]
        sizes += [len(picture.proto.json.encode()) for picture in tested.get("bidi_component")]
        row(f"{name}, the largest of {len(sizes)} figures", f"{max(sizes) / 1e3:.0f} kB")


def interactions(app: App) -> None:
    """Measure from a click to the new figure; nothing is cached."""
    clicks = {
        "Micro, another pruner": ("/micro?step=prune", "SparseGPT", "< 1 s"),
        "Lab, memory off, Wanda": ("/lab", "off", "< 0.7 s"),
        "Lab, memory off, SparseGPT": ("/lab?pruner=sparsegpt", "off", "< 1 s"),
    }
    drawn = """[...document.querySelectorAll('*')].map(one =>
        one.shadowRoot?.innerHTML ?? (one.matches('.js-plotly-plot') ? JSON.stringify(one.data) : '')).join('')"""
    for name, (path, choice, target) in clicks.items():
        with browser(app, path) as visitor:
            visitor.page.wait_for_selector(CHART)
            before = visitor.page.evaluate(drawn)
            button = visitor.page.get_by_role("radio", name=choice, exact=True)

            def click(visitor: Any = visitor, button: Any = button, before: str = before) -> None:
                button.click()
                visitor.page.wait_for_function(f"before => {drawn} !== before", arg=before, polling=50)

            row(name, timed(seconds(click)), target)


MEASURES: dict[str, Callable[[App], None]] = {
    "paint": first_paint,
    "charts": first_chart,
    "clicks": interactions,
    "idle": idle_traffic,
    "run": first_progress,
    "memory": memory_of_polling,
    "sizes": largest_figures,
}


def main(parts: list[str], polls: int, quiet: float) -> None:
    print(f"{machine()}\nload {os.getloadavg()[0]:.1f}\n\n| what | measured | target |\n|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SDS_RUNS"] = folder
        examples = unpack_all()
        with server(Path(folder), cache_folder()) as address, visitors(address) as visit:
            app = App(visit, Path(folder), examples, polls, quiet)
            for part in parts or MEASURES:
                MEASURES[part](app)
    print(f"\nload {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    if CHROMIUM is None or find_spec("playwright") is None:
        sys.exit("Chromium and playwright (requirements-dev.txt) are required; one of them is missing.")
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    known = ", ".join(MEASURES)
    parser.add_argument("parts", nargs="*", choices=MEASURES, metavar="PART", help=f"any of {known} (default: all)")
    parser.add_argument("--polls", type=int, default=1000, help="polls of a live run (default: %(default)s)")
    parser.add_argument("--quiet", type=float, default=20, help="seconds to watch an idle page (default: %(default)s)")
    arguments = parser.parse_args()
    main(arguments.parts, arguments.polls, arguments.quiet)
