"""Data sets of the hub: streamed from it, or read from the local hub cache where it is out of reach."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from huggingface_hub import constants
from yaml import YAMLError

from sds_core.errors import SDSError
from sds_core.files import total_size
from sds_core.models.hub_reach import hub_reachable
from sds_core.models.text_spec import DEFAULT_CONFIG

CARD = "README.md"
DATA = (".parquet", ".jsonl", ".json", ".csv", ".tsv", ".txt", ".gz", ".zst", ".xz", ".bz2", ".zip", ".arrow", ".tar")
"""Name endings of files with rows."""
DESCRIPTIONS = ("dataset_info", "dataset_infos", "README")
"""Names, without endings, of files that have no rows: a data set that was only streamed leaves them in the cache."""


@dataclass(frozen=True)
class CachedDataSet:
    """A data set in the local hub cache."""

    name: str
    """Its id."""
    size: int
    """Bytes of its files."""
    texts: tuple[str, ...]
    """Its columns with text as `text_spec` names them, one for every configuration and split that is known."""


def rows(name: str, config: str, split: str) -> Iterable[dict[str, Any]]:
    """Stream the rows of a data set.

    Args:
        name: its id.
        config: name of a configuration; empty for the default.
        split: name of a split; empty for `train`.

    Raises:
        SDSError: it is not in the cache, and the hub is out of reach.
    """
    from datasets import load_dataset  # takes seconds

    which: dict[str, Any] = {"split": split or "train", "streaming": True}
    if hub_reachable():
        return load_dataset(name, config or None, **which)
    folder = next((found for path, found in _cached() if _id(path) == name), None)
    try:
        with _offline():
            return load_dataset(str(folder or name), config or None, **which)
    except ConnectionError as error:
        raise SDSError(
            f"the dataset {name} cannot be read: it is not on this machine and the hub is out of reach",
            cure="check its name and the network, or use self or a local file",
        ) from error


@contextmanager
def _offline() -> Iterator[None]:
    """Let the library look into its caches at once: on its own it asks a silent hub for minutes."""
    from datasets import config

    before, config.HF_HUB_OFFLINE = config.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        config.HF_HUB_OFFLINE = before


def cached_data_sets() -> list[CachedDataSet]:
    """Return the data sets in the local hub cache by id."""
    found = []
    for path, folder in _cached():
        size = total_size(path.glob("blobs/*"))
        named = [":".join(("hub", _id(path), *one)) for one in _columns(_id(path), folder)]
        found.append(CachedDataSet(_id(path), size, tuple(dict.fromkeys(named))))
    return found


def _cached() -> Iterator[tuple[Path, Path]]:
    """Yield every data set's place in the cache, and its newest version there that has rows."""
    for path in sorted(Path(constants.HF_HUB_CACHE).glob("datasets--*")):
        for folder in sorted(path.glob("snapshots/*"), key=lambda one: one.stat().st_mtime, reverse=True):
            if any(file.suffix in DATA and file.stem not in DESCRIPTIONS for file in folder.rglob("*")):
                yield path, folder
                break


def _id(path: Path) -> str:
    return path.name.removeprefix("datasets--").replace("--", "/")


def _columns(name: str, folder: Path) -> Iterator[tuple[str, str, str]]:
    """Yield configuration, split and column of a data set's texts.

    They are known from its card, or from what the library wrote down when it loaded it; otherwise they are the most
    frequent ones: a wrong one is refused with those that there are.
    """
    known = [*_described(folder), *_prepared(name)]
    for info in known:
        texts = [one for one, kind in info.columns.items() if kind in ("string", "large_string")]
        config = "" if info.config == DEFAULT_CONFIG else info.config
        for column in ["text"] if "text" in texts else texts[:1]:
            yield from ((config, split, column) for split in info.splits)
    if not known:
        yield "", "train", "text"


@dataclass(frozen=True)
class _Info:
    config: str
    splits: list[str]
    columns: dict[str, str]
    """Types by name."""


def _described(folder: Path) -> Sequence[_Info]:
    try:
        return _described_in(folder / CARD, (folder / CARD).stat().st_mtime_ns)
    except OSError:
        return ()


@lru_cache(maxsize=256)
def _described_in(card: Path, stamp: int) -> Sequence[_Info]:
    """Read a card once in each state: some describe hundreds of configurations, and pages ask at every click."""
    from huggingface_hub.repocard import metadata_load

    found = list[_Info]()
    try:
        entries = (metadata_load(card) or {}).get("dataset_info") or []
        for entry in entries if isinstance(entries, list) else [entries]:
            columns = {one["name"]: str(one.get("dtype")) for one in entry["features"]}
            found.append(_Info(str(entry.get("config_name") or ""), [one["name"] for one in entry["splits"]], columns))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, YAMLError):
        pass  # a card is written by hand
    return found


def _prepared(name: str) -> Iterator[_Info]:
    """Read the descriptions of the library's own copies, whose folders bear a data set's id in other letters."""
    place = Path(os.environ.get("HF_DATASETS_CACHE") or Path(constants.HF_HOME) / "datasets")
    for path in sorted(place.glob("*/*/*/*/dataset_info.json")):
        if path.parents[3].name.replace("_", "").lower() != name.replace("/", "").replace("_", "").lower():
            continue
        try:
            info = json.loads(path.read_text(encoding="utf-8"))
            columns = {one: str(kind.get("dtype")) for one, kind in info["features"].items()}
            yield _Info(info["config_name"], list(info["splits"]), columns)
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            continue
