"""The server answers its own pages alone, and lets no other site frame them."""

import asyncio
from pathlib import Path

import pytest
from streamlit.web.server.app_discovery import discover_asgi_app

from pages.ui.own_pages import OwnPagesOnly

HOST = "127.0.0.1:8501"
APP = Path(__file__).parents[2] / "app.py"


def answered(kind: str, **headers: str) -> tuple[bool, list[dict]]:
    """Whether the app inside is asked, and what is sent."""
    asked, sent = [], []

    async def inside(scope, receive, send):
        asked.append(scope)
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message):
        sent.append(message)

    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    asyncio.run(OwnPagesOnly(inside)({"type": kind, "headers": pairs}, None, send))
    return bool(asked), sent


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "http://127.0.0.1:3000", "http://localhost:8501", "null", ""]
)
def test_session_opened_by_another_site_is_refused(origin):
    asked, sent = answered("websocket", host=HOST, origin=origin)
    assert not asked and [message["type"] for message in sent] == ["websocket.close"]


@pytest.mark.parametrize("headers", [{"origin": f"http://{HOST}"}, {"origin": f"https://{HOST}"}, {}])
def test_sessions_of_own_pages_and_programs_are_answered(headers):
    assert answered("websocket", host=HOST, **headers)[0]


def test_no_other_site_may_frame_an_answer():
    _, (message,) = answered("http", host=HOST)
    assert (b"content-security-policy", b"frame-ancestors 'self'") in message["headers"]


def test_streamlit_finds_the_layer_around_the_app():
    assert discover_asgi_app(APP).import_string == "app:app"
    assert "middleware=[Middleware(OwnPagesOnly)]" in APP.read_text("utf-8")
