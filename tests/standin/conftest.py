"""The stand-in device, or the reason why its tests are skipped."""

import pytest

from tests.standin.device import Standin, standin


@pytest.fixture(scope="session")
def device() -> Standin:
    """The device; compiled where there is a compiler."""
    found = standin()
    if isinstance(found, str):
        pytest.skip(found)
    return found
