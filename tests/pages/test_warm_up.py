"""What the pages compute with is loaded behind the first page, not before it."""

import threading
from importlib.util import find_spec

import pytest

from pages.ui import warm_up


@pytest.mark.parametrize("name", warm_up.MODULES)
def test_its_modules_exist(name):
    assert find_spec(name)


def test_it_begins_once_a_page_stands(runs, app, monkeypatch):
    loaded, begun = [], threading.Event()
    monkeypatch.setattr(warm_up, "drawn", threading.Event())
    monkeypatch.setattr(warm_up, "MOMENT", 60.0)
    monkeypatch.setattr(warm_up, "import_module", lambda name: (loaded.append(name), begun.set()))
    thread = threading.Thread(target=warm_up.load)
    thread.start()
    assert not begun.wait(0.1)
    app("pages/start.py")
    thread.join(10)
    assert loaded == list(warm_up.MODULES)


def test_a_server_without_a_visitor_loads_after_a_moment(monkeypatch):
    loaded = []
    monkeypatch.setattr(warm_up, "drawn", threading.Event())
    monkeypatch.setattr(warm_up, "MOMENT", 0.01)
    monkeypatch.setattr(warm_up, "import_module", loaded.append)
    warm_up.load()
    assert loaded == list(warm_up.MODULES)
