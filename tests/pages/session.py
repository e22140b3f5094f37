"""A visitor without a browser: what a tab sends to the app's websocket, and what comes back."""

import json
import time
from dataclasses import dataclass, field
from typing import Any

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import connect

PATIENCE = 120
ENDED = (ForwardMsg.FINISHED_SUCCESSFULLY, ForwardMsg.FINISHED_FRAGMENT_RUN_SUCCESSFULLY)


@dataclass
class Seen:
    """What a page has shown."""

    seconds: float
    """From the question to the end of the script."""
    pictures: dict[str, Any] = field(default_factory=dict)
    """Numbers of each picture by its name, and under `id` of its name the element's."""
    ids: dict[str, str] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    """Sentences in red, and texts in blue."""
    failed: bool = False
    """Whether the script ended with an error."""
    size: int = 0
    """Bytes received."""


class Session:
    """One tab."""

    def __init__(self, address: str):
        """
        Args:
            address: of the app, as http://127.0.0.1:8501.
        """
        self._socket = connect(f"{address.replace('http', 'ws', 1)}/_stcore/stream", max_size=None)
        self._widgets: dict[str, str] = {}
        self._polled = ""
        self.page = ""

    def open(self, page: str, query: str = "") -> Seen:
        """Open a page with a query, as a link does."""
        self.page, self.query = page, query
        return self._run(self._message())

    def pick(self, seen: Seen, picture: str, **view: Any) -> Seen:
        """Pick something in a picture that is shown."""
        self._widgets[seen.ids[picture]] = json.dumps({"pick": {**view, "n": 1}})
        return self._run(self._message())

    def poll(self) -> Seen:
        """Ask again for the part of the page that wants to be asked at intervals, as a tab does by itself."""
        assert self._polled, "no part of the page is polled"
        message = self._message()
        message.rerun_script.fragment_id, message.rerun_script.is_auto_rerun = self._polled, True
        return self._run(message)

    def close(self) -> None:
        """Close the tab."""
        self._socket.close()

    def _message(self) -> BackMsg:
        message = BackMsg()
        message.rerun_script.page_name, message.rerun_script.query_string = self.page, self.query
        for name, value in self._widgets.items():
            message.rerun_script.widget_states.widgets.add(id=name, json_value=value)
        return message

    def _run(self, asked: BackMsg) -> Seen:
        began, seen = time.monotonic(), Seen(0)
        self._socket.send(asked.SerializeToString())
        while True:
            received = self._socket.recv(PATIENCE)
            message = ForwardMsg.FromString(received)
            seen.size += len(received)
            if message.HasField("script_finished") and message.script_finished != ForwardMsg.FINISHED_EARLY_FOR_RERUN:
                break
            if message.HasField("auto_rerun"):
                self._polled = message.auto_rerun.fragment_id
            if message.HasField("page_info_changed"):
                self.query = message.page_info_changed.query_string
            _note(message.delta.new_element, seen)
        seen.failed |= message.script_finished not in ENDED
        seen.seconds = time.monotonic() - began
        return seen


def _note(element: Any, seen: Seen) -> None:
    if element.HasField("bidi_component"):
        picture = element.bidi_component
        name = picture.component_name.rpartition(".")[2]
        seen.ids[name] = picture.id
        seen.pictures[name] = json.loads(picture.json)[0]
    if element.HasField("alert"):
        seen.said.append(element.alert.body)
    if element.HasField("exception"):
        seen.failed = True
        seen.said.append(element.exception.message)
