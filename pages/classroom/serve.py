"""Serves a class: `python serve.py PORT CODE HOST…`, which `sds app --class` starts; `SDS_CLASS` names its folder.

Options of Streamlit are the app's, with narrower ones on top. The address has a join code in its path: whoever does not
know it reaches no page and no socket.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
APP = HERE.parents[2]
"""The folder of app.py: beside the package in a checkout, inside it in a wheel."""
NARROWER = {
    "server.fileWatcherType": "none",
    "server.maxUploadSize": 0,
    "server.maxWidgetStateSize": 1,
    "server.disconnectedSessionTTL": 60,
    "client.showErrorDetails": "none",
}


def options(port: int, code: str, hosts: list[str]) -> dict[str, Any]:
    """Return Streamlit's options: those of the app, then those of a class.

    Args:
        port: to listen on, on every address of this machine.
        code: first and only part of every path.
        hosts: names and addresses of this machine; the first one is printed.
    """
    with open(APP / ".streamlit" / "config.toml", "rb") as file:
        own = _flat(tomllib.load(file))
    where = {"server.address": "0.0.0.0", "server.port": port, "server.baseUrlPath": code}
    names = {"server.allowedHosts": hosts, "browser.serverAddress": hosts[0]}
    return own | NARROWER | where | names


def _flat(table: dict[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in table.items():
        found |= _flat(value, f"{before}{name}.") if isinstance(value, dict) else {f"{before}{name}": value}
    return found


def end_with_parent() -> None:
    """End this process when the one that started it has ended, however that was: nothing stays on the network."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


def main(port: int, code: str, *hosts: str) -> None:
    """Load the pages' engine, close the doors, serve."""
    sys.path.insert(0, str(APP))
    sys.dont_write_bytecode = True
    from streamlit import config
    from streamlit.runtime.metrics_util import Installation
    from streamlit.web import bootstrap

    from pages.classroom import engine, guard
    from sds_core.lesson import votes

    end_with_parent()
    engine.load()
    gc.freeze()  # garbage need not be looked for in what is loaded for good
    Installation.instance()  # looks at the machine once
    folder, script = Path(os.environ[votes.VARIABLE]), str(HERE.parent / "app.py")
    config._main_script_path = script
    given = options(port, code, list(hosts))
    bootstrap.load_config_options(given)
    import_module("pages.classroom.app")
    guard.close([folder, HERE.parents[1], Path(votes.__file__).parents[1]], (folder / votes.FILE).parent)
    bootstrap.run_asgi_app(script, "pages.classroom.app:app", [], given)


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
