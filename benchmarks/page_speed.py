"""Response times of the app: first paint, pictures, clicks, the Studio live, idle traffic, memory, sizes.

    python benchmarks/page_speed.py [paint clicks studio sentence idle memory sizes] [--polls 1000] [--quiet 20]

Serves the app with the example runs and opens it in Chromium through playwright; both must be installed. Run nothing
else meanwhile, above all no other run of the product, behind which `sentence` would wait. The load of the machine is
printed, and the server's CPU seconds beside the wall-clock seconds. On two cores all parts take about eight minutes,
`sentence` three of them.
"""

import argparse
import fcntl
import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from streamlit.testing.v1 import AppTest

from benchmarks import served_app, studio_speed
from benchmarks.served_app import App, browser, row, seconds, server_process, timed, wait_until_idle
from sds_core.models.device import machine
from sds_core.runs.config import RunConfig
from sds_core.runs.examples import unpack_all
from sds_core.runs.new_run import create
from sds_core.runs.presets import PRESETS
from tests.pages.browser import CHROMIUM, IDLE
from tests.pages.session import Session
from tests.records import block_finished, model_loaded

ASSETS = Path(__file__).parents[1] / "pages" / "ui" / "pictures" / "assets"
TABS = 4
"""Tabs that poll in turn, each as soon as it is answered: a browser, at two polls a second, would take minutes."""
PAGES = {
    "Start": ("/", "h1", "main.start > *"),
    "Studio": ("/studio?experiment=examples", ".st-key-phase button", ".studio .cell.dense path.edge"),
    "Compare": ("/compare?experiment=examples", "main.compare h2", "main.compare .row"),
    "Walk": ("/walk?step=3", "main.walk .left > *", "main.walk .right > *"),
    "Layer lab": ("/lab", ".st-key-columns h1", "main.lab svg"),
    "Micro": ("/micro?step=prune", ".st-key-columns h1", "main.micro .matrix"),
}
"""Address of each page with a picture, what is painted first, and the picture."""
FIGURES = {"compare": "pages/compare.py", "lab": "pages/lab.py", "micro": "pages/micro.py", "walk": "pages/walk.py"}
"""Pages whose largest figure is measured."""


def first_paint(app: App) -> None:
    """Measure until a page's first words and its picture are in view, each time in a new browser."""
    for name, (path, words, picture) in PAGES.items():
        for state in ("first visit to the server", "warm server"):
            target = "< 2 s" if state == "warm server" else ""
            with browser(app) as visitor:
                visitor.page.goto("about:blank")
                paint = seconds(partial(open_until, visitor, path, words))
                chart = seconds(partial(visitor.page.locator(picture).first.wait_for, state="attached"))
                rest = seconds(partial(visitor.page.wait_for_selector, IDLE))
                row(f"{name}, first paint, {state}, new browser", timed(paint), target)
                row(f"{name}, picture, {state}, new browser", f"{paint[0] + chart[0]:.2f} s", target)
                row(f"{name}, complete, {state}, new browser", f"{paint[0] + chart[0] + rest[0]:.2f} s")
                if state == "warm server":
                    row(
                        f"{name}, picture, from a click in the navigation",
                        timed(seconds(partial(turn_to, visitor, name, picture))),
                        target,
                    )
            wait_until_idle()


def open_until(visitor: Any, path: str, selector: str) -> None:
    """Go to a page and wait for an element."""
    visitor.page.goto(visitor.address + path, wait_until="commit")
    visitor.page.wait_for_selector(selector)


def turn_to(visitor: Any, page: str, selector: str) -> None:
    """Turn to a page in the navigation, and wait for an element."""
    visitor.page.locator("[data-testid=stTopNavLink]").get_by_text(page, exact=True).click()
    if page == "Report":
        visitor.page.get_by_role("heading", name="How do I keep").wait_for()
        visitor.idle()
    visitor.page.locator(selector).first.wait_for(state="attached")


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
    paths = {name: path for name, (path, _, _) in PAGES.items() if name != "Start"}  # its picture moves by itself
    for name, path in ({"Runs": f"/studio?manage={app.examples[0].id}"} | paths).items():
        with browser(app) as visitor:
            traffic = counted(visitor, path)
            visitor.page.wait_for_timeout(5000)  # late fonts
            traffic.clear()
            visitor.page.wait_for_timeout(1000 * app.quiet)
            row(f"{name}, idle for {app.quiet:g} s", f"{len(traffic)} frames and requests", "0")


def memory_of_polling(app: App) -> None:
    """Measure the server's resident memory before and after many polls of a live run."""
    run = create(RunConfig.from_dict(PRESETS["quick"] | {"title": "polled"}))
    log = run.writer()
    log.append(model_loaded(blocks=app.polls))
    descriptor = os.open(run.lock_path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    tabs = [Session(app.address) for _ in range(TABS)]
    for tab in tabs:
        assert not tab.open("studio", f"experiment={run.id}").failed

    def poll(times: int) -> None:
        for i in range(times):
            if i % TABS == 0:
                log.append(block_finished(next(blocks), seconds=1.0))
            assert not tabs[i % TABS].poll().failed

    blocks = count()
    poll(100)  # what the first polls load is not counted
    before, began = server_process().memory_info().rss, time.monotonic()
    poll(app.polls)
    after, took = server_process().memory_info().rss, time.monotonic() - began
    os.close(descriptor)
    for tab in tabs:
        tab.close()
    change = f"{before / 1e6:.1f} → {after / 1e6:.1f} MB ({(after - before) / 1e6:+.1f} MB)"
    row(f"server memory, {app.polls} polls of a live run, {TABS} tabs in {took:.0f} s", change)


def largest_figures(app: App) -> None:
    """Measure the largest figure or picture that each page sends to the browser."""
    for name, script in FIGURES.items():
        tested = AppTest.from_file(str(Path(__file__).parents[1] / "app.py"), default_timeout=120).run()
        tested.switch_page(script)
        tested.run()
        assert not tested.exception
        sizes = [len(chart.proto.spec.encode()) for chart in tested.get("plotly_chart")]
        sizes += [len(picture.proto.json.encode()) for picture in tested.get("bidi_component")]
        row(f"{name}, the largest of {len(sizes)} figures", f"{max(sizes) / 1e3:.0f} kB")
    lines = {path.name: len(path.read_text().splitlines()) for path in ASSETS.glob("*.js")}
    longest = max(lines, key=lines.__getitem__)
    row("JavaScript of all pictures", f"{sum(lines.values()):,} lines in {len(lines)} modules")
    row("JavaScript, longest module", f"{longest}, {lines[longest]} lines", "≤ 200")


def interactions(app: App) -> None:
    """Measure from a click to the new picture; nothing of it is in a cache."""
    clicks = {
        "Micro, another pruner": ("/micro?step=prune", ".st-key-micro-pruner", "SparseGPT", "< 1 s"),
        "Lab, memory off, Wanda": ("/lab", ".st-key-lab-dual", "off", "< 0.7 s"),
        "Lab, memory off, SparseGPT": ("/lab?pruner=sparsegpt", ".st-key-lab-dual", "off", "< 0.7 s"),
    }
    drawn = "[...document.querySelectorAll('*')].map(one => one.shadowRoot?.innerHTML ?? '').join('')"
    for name, (path, widget, choice, target) in clicks.items():
        with browser(app, path) as visitor:
            visitor.page.locator(PAGES[name.partition(",")[0].replace("Lab", "Layer lab")][2]).first.wait_for()
            before = visitor.page.evaluate(drawn)
            button = visitor.page.locator(widget).get_by_text(choice, exact=True)

            def click(visitor: Any = visitor, button: Any = button, before: str = before) -> None:
                button.click()
                visitor.page.wait_for_function(f"before => {drawn} !== before", arg=before, polling=50)

            row(name, timed(seconds(click)), target)


def studio(app: App) -> None:
    """Measure the Studio with six runs: other layers, and a live phase."""
    studio_speed.layers(app)
    studio_speed.live(app)


MEASURES: dict[str, Callable[[App], None]] = {
    "paint": first_paint,
    "clicks": interactions,
    "studio": studio,
    "sentence": studio_speed.sentence,
    "idle": idle_traffic,
    "memory": memory_of_polling,
    "sizes": largest_figures,
}


def main(parts: list[str], polls: int, quiet: float) -> None:
    print(f"{machine()}\nload {os.getloadavg()[0]:.1f}\n\n| what | measured | target |\n|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SDS_RUNS"] = folder
        with served_app.app(Path(folder), unpack_all(), polls, quiet) as app:
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
