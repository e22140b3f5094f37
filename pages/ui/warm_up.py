"""Load what the pages compute with while the first visitor reads: torch and pandas take seconds."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any

MODULES = (
    "pages.ui.studio_board",
    "sds_core.runs.plugins",
    "sds_core.runs.dense_layers",
    "sds_core.models.check_model",
    "pages.ui.compare_page",
    "pages.ui.compare_more",
    "pages.ui.micro_page",
    "pages.ui.lab_page",
    "pages.ui.walk_numbers",
)
"""With what they import themselves; the Studio's come first."""
MOMENT = 2.0
"""Seconds after which a server without a visitor begins. Earlier, a first page would be half as slow again."""
drawn = threading.Event()
"""Set once a page has been drawn: what it needed is loaded, so no other page is held up before it is seen."""


@asynccontextmanager
async def behind_the_first_page(app: Any) -> AsyncIterator[None]:
    """Begin once the server runs and a page stands; nobody waits for it, and it ends with the server."""
    threading.Thread(target=load, name="warm-up", daemon=True).start()
    yield


def load() -> None:
    """Import the modules, when it is time."""
    drawn.wait(MOMENT)
    for name in MODULES:
        import_module(name)
