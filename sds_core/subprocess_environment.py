"""The environment of Python processes that this one starts."""

import os
from pathlib import Path

PACKAGE_PARENT = str(Path(__file__).parents[1])
"""The folder in which Python finds this package."""


def python_path() -> str:
    """Return a PYTHONPATH by which Python finds this package, and all else that this process was told of."""
    return os.pathsep.join(filter(None, [PACKAGE_PARENT, os.environ.get("PYTHONPATH")]))


def with_package() -> dict[str, str]:
    """Return this process's environment, in which Python finds this package wherever it is started."""
    return os.environ | {"PYTHONPATH": python_path()}
