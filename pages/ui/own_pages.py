"""The app as a server: only its own pages are answered, and no other site may frame them.

Streamlit would ask a server elsewhere for this machine's address before it refused the page of another site.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

REFUSED = 1008
"""The code of a websocket that is closed for a policy."""


class OwnPagesOnly:
    """A layer around the app, as ASGI has them."""

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket" and not _of_own_page(Headers(scope=scope)):
            await send({"type": "websocket.close", "code": REFUSED})
            return

        async def send_unframed(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Content-Security-Policy"] = "frame-ancestors 'self'"
            await send(message)

        await self._app(scope, receive, send_unframed)


def _of_own_page(headers: Headers) -> bool:
    """Whether a page of this server asks; a program that is no browser names no origin."""
    host = headers.get("host")
    return headers.get("origin") in (None, f"http://{host}", f"https://{host}")
