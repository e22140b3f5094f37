"""A hub that is silent, refuses, or is switched off is told in seconds; one that answers anything is there."""

import socket
import time

import pytest
from huggingface_hub import constants

from sds_core.errors import SDSError
from sds_core.models import hub_reach
from sds_core.models.find_model import download
from tests.models.stub_hub import stub_hub


@pytest.fixture
def hub(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub_reach, "_asked", {})
    monkeypatch.setattr(hub_reach, "PATIENCE", 0.5)
    return lambda address: monkeypatch.setattr(constants, "ENDPOINT", address)


def test_silent_hub_is_out_of_reach_at_once(hub):
    """As behind a network that swallows everything."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        hub(f"http://127.0.0.1:{silent.getsockname()[1]}")
        began = time.monotonic()
        with pytest.raises(SDSError, match="out of reach"):
            download("someone/tiny", ["config.json"])
        assert time.monotonic() - began < 3
        assert hub_reach.hub_reachable() is False and time.monotonic() - began < 3, "it is not asked again"


def test_hub_that_answers_anything_is_reachable(hub):
    with stub_hub({}, {}) as (address, asked):
        hub(address)
        assert hub_reach.hub_reachable() and hub_reach.hub_reachable() and len(asked) == 1


def test_hub_that_is_switched_off_is_not_asked(hub, monkeypatch):
    with stub_hub({}, {}) as (address, asked):
        hub(address)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        assert not hub_reach.hub_reachable() and asked == []
