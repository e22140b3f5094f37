"""The environment of Python processes that this one starts."""

import os
from pathlib import Path


def with_package() -> dict[str, str]:
    """Return this process's environment, in which Python finds this package wherever it is started."""
    paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
