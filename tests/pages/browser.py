"""A real browser on a real server: what the journeys and `make screenshots` stand on."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MISSING = "" if CHROMIUM and find_spec("playwright") else "no Chromium or no playwright on this machine"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
IDLE = "[data-testid=stApp][data-test-script-state=notRunning]"
PATIENCE = 90_000  # milliseconds


@contextmanager
def server(runs: Path, cache: Path, script: str = "app.py") -> Iterator[str]:
    """The app, or another script, on a free port of this machine, with its own folders; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", script, "--server.port", str(port)]
    command += ["--server.fileWatcherType", "none"]  # other tests write beside the app all the time
    own = {"SDS_RUNS": str(runs), "SDS_CACHE": str(cache), "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | own, stdout=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(f"{address}/_stcore/health", process)
        yield address
    finally:
        process.terminate()
        process.wait(60)


def _wait_for(address: str, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(address):
                return
        except (urllib.error.URLError, ConnectionError):
            assert process.poll() is None and time.monotonic() < deadline, "the app did not start"
            time.sleep(0.1)


class Visitor:
    """A page of the browser that notes every request to anybody but the app, and every error."""

    def __init__(
        self, context: Any, address: str, width: int = 1280, scheme: str = "light", reduced_motion: str | None = None
    ):
        self.address, self.left, self.errors = address, list[str](), list[str]()
        self.page = context.new_page()
        self.page.set_viewport_size({"width": width, "height": 800})
        self.page.emulate_media(color_scheme=scheme, reduced_motion=reduced_motion)
        self.page.set_default_timeout(PATIENCE)
        self.page.on("request", lambda request: self._note(request.url))
        self.page.on("websocket", lambda socket: self._note(socket.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))

    def _note(self, url: str) -> None:
        if not url.startswith((self.address, self.address.replace("http", "ws"), "data:", "blob:")):
            self.left.append(url)

    def open(self, path: str) -> "Visitor":
        """Go to a page and wait until it has been drawn."""
        self.page.goto(self.address + path)
        self.page.wait_for_selector("h1")
        return self.idle()

    def idle(self) -> "Visitor":
        """Wait until no script runs."""
        self.page.wait_for_timeout(300)
        self.page.wait_for_selector(IDLE)
        return self

    def whole(self, path: Path) -> None:
        """A picture of the whole page, however long."""
        height = self.page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
        size = self.page.viewport_size
        self.page.set_viewport_size({"width": size["width"], "height": max(800, height + 20)})
        self.page.wait_for_timeout(800)
        self.page.screenshot(path=path)


@contextmanager
def visitors(address: str) -> Iterator[Any]:
    """A function that makes a `Visitor`.

    All share one context, and with it the cache of the app's scripts, which take a second to load. (A route that could
    stop requests would switch that cache off: none is answered because no name but this machine's is resolved.)
    """
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            context = browser.new_context(accept_downloads=True)
            yield lambda **how: Visitor(context, address, **how)
        finally:
            browser.close()
