"""What all tests share: no network, an order in which workers finish together, and the fixtures in `fixtures.py`."""

import gc
import os

os.environ["HF_HUB_OFFLINE"] = "1"  # read at import time, so before anything imports the hub client
os.environ["HF_ENDPOINT"] = "http://127.0.0.1:9"  # and should something reach out all the same, nobody answers there
os.environ.pop("SDS_PRUNERS", None)  # a developer's plugins are not part of the tests

import pytest

gc.set_threshold(100_000, 50, 100)  # looking through thousands of tests for garbage would take a tenth of the time

SERVED = "tests/pages/test_journeys"
"""How the names of those files begin whose tests share one server."""
SLOW = (SERVED, "tests/pages/test_legible", "tests/pages/test_gallery")
"""Files that go first: no worker is left alone with a long one at the end."""


def pytest_configure(config: pytest.Config) -> None:
    """Load the fixtures where tests are run, which takes seconds; where xdist hands files out, do so in their order.

    xdist would begin with the files of most tests, however short.
    """
    if config.getoption("numprocesses", None):
        config.option.loadscopereorder = False
    else:
        config.pluginmanager.import_plugin("tests.fixtures")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of slow files first."""
    items.sort(key=lambda item: not item.nodeid.startswith(SLOW))


def pytest_collection_finish() -> None:
    """Never look through the tests and what they have imported for garbage again."""
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Give one worker all files that share the server: each worker would start its own."""
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "served" if nodeid.startswith(SERVED) else super()._split_scope(nodeid)

    return Scheduling(config, log)
