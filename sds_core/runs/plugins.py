"""Plugin pruners: the files of the folder that `--pruners` or `SDS_PRUNERS` names.

No other folder is read, and only whoever starts the command line or the app can name it: no upload, configuration or
URL can. A changed file is loaded anew, a missing or broken one is not offered. Runs refer to a file by its SHA-256.
"""

import hashlib
import os
import threading
from collections.abc import Collection, Iterable
from pathlib import Path

from sds_core.errors import SDSError
from sds_core.files import user_path
from sds_core.pruning.registry import RESERVED, PrunerRegistry
from sds_core.runs.plugin_check import accept
from sds_core.runs.plugin_file import PluginFile, content, load
from sds_core.runs.plugin_flag import VARIABLE

_loaded: dict[tuple[Path, str], PluginFile | SDSError] = {}
"""The plugin of each file, or why it was rejected, by path and SHA-256."""
_lock = threading.Lock()
"""The app serves each visitor in a separate thread."""


def use_folder(folder: str) -> None:
    """Name the folder of plugins, for this process and the workers that it starts.

    Raises:
        SDSError: there is no such folder.
    """
    os.environ[VARIABLE] = str(_existing(folder))


def load_registry(names: Iterable[str] | None = None, accepted: Collection[str] = ()) -> PrunerRegistry:
    """Return the built-in pruners and those of the plugin folder, as its files are now.

    Args:
        names: load only plugins with these names; None for all.
        accepted: SHA-256 digests of files that need no check, as in a worker, whose runs were checked at launch.

    Raises:
        SDSError: there is no such folder.
    """
    folder, wanted = os.environ.get(VARIABLE), None if names is None else set(names).difference(RESERVED)
    if not folder or wanted == set():
        return PrunerRegistry()
    existing = _existing(folder)
    paths = [path for path in sorted(existing.glob("*.py")) if wanted is None or path.stem in wanted]
    with _lock:
        found = {path.stem: _load(path, existing, accepted) for path in paths}
    return PrunerRegistry(
        {name: plugin for name, plugin in found.items() if isinstance(plugin, PluginFile)},
        {name: error for name, error in found.items() if isinstance(error, SDSError)},
    )


def _existing(folder: str) -> Path:
    path = user_path(folder).resolve()
    if not path.is_dir():
        raise SDSError("there is no such folder of plugin pruners", got=folder)
    return path


def _load(path: Path, folder: Path, accepted: Collection[str]) -> PluginFile | SDSError:
    """Return the plugin of a file, or why it is rejected."""
    try:
        if path.resolve().parent != folder:
            raise SDSError(f"{path.name} links to a file outside {folder}", cure="copy the file there")
        data = content(path)
    except SDSError as error:
        return error
    sha256 = hashlib.sha256(data).hexdigest()
    if (path, sha256) not in _loaded:
        known = {file.sha256 for file in _loaded.values() if isinstance(file, PluginFile)}
        try:
            if sha256 not in accepted and sha256 not in known:
                accept(path, data)
            _loaded[path, sha256] = load(path, data)
        except SDSError as error:
            _loaded[path, sha256] = error
    return _loaded[path, sha256]
