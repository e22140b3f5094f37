"""The flag of the command line that names the folder of plugin pruners."""

import os
from collections.abc import Iterable

from sds_core.files import user_path
from sds_core.pruning.registry import RESERVED

VARIABLE = "SDS_PRUNERS"


def folder_flag(names: Iterable[str]) -> list[str]:
    """Return the words that a command line with these pruners needs to find plugins."""
    if set(names) <= set(RESERVED):
        return []
    folder = os.environ.get(VARIABLE)
    return ["--pruners", str(user_path(folder).resolve()) if folder else "FOLDER"]
