"""Every test here has a folder of runs of its own."""

import pytest


@pytest.fixture(autouse=True)
def own_runs(runs_root) -> None: ...
