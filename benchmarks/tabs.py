"""A tab of the app without a browser: what it sends and receives over its websocket."""

import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import connect

ROOT = Path(__file__).parents[1]
INTERVAL = 0.5
"""Seconds between two polls, as the page asks a browser for."""
PATIENCE = 120
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
