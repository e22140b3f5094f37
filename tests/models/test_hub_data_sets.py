"""Data sets of the hub: found in its cache with sizes, and read from there at once when the hub says nothing."""

import json
import os
import socket
import time
from pathlib import Path

import pytest
from huggingface_hub import constants

from sds_core.errors import SDSError
from sds_core.models import hub_data_sets, hub_reach
from sds_core.models.hub_data_sets import CachedDataSet, cached_data_sets
from sds_core.models.text_reader import read_text

CARD = """---
dataset_info:
- config_name: small
  features:
  - name: label
    dtype: int64
  - name: story
    dtype: string
  splits:
  - name: train
  - name: test
---
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    return tmp_path


def store(cache: Path, name: str, files: dict[str, str], revision: str = "abc") -> int:
    """Keep files as the hub's client does; return their bytes."""
    place = cache / "hub" / f"datasets--{name.replace('/', '--')}"
    folder = place / "snapshots" / revision
    folder.mkdir(parents=True)
    (place / "blobs").mkdir(exist_ok=True)
    for number, (file, text) in enumerate(files.items()):
        blob = place / "blobs" / f"{revision}{number}"
        blob.write_text(text)
        (folder / file).symlink_to(blob)
    return sum(len(text) for text in files.values())


def lines(*texts: str, column: str = "body") -> str:
    return "".join(json.dumps({column: text}) + "\n" for text in texts)


def test_cached_sets_are_listed_with_sizes_and_texts(cache: Path) -> None:
    told = store(cache, "someone/Told", {"README.md": CARD, "train.jsonl": lines("a", column="story")})
    guessed = store(cache, "someone/guessed", {"train.jsonl": lines("a")})
    (cache / "hub" / "datasets--someone--guessed" / "blobs" / "0.incomplete").symlink_to(cache / "meanwhile in place")
    store(cache, "someone/streamed", {"README.md": CARD, "dataset_infos.json": "{}"})  # nothing with rows came
    prepared = store(cache, "someone/NewsSet", {"train.jsonl": lines("a")})
    info = cache / "datasets" / "someone___news_set" / "default" / "0.0.0" / "abc" / "dataset_info.json"
    info.parent.mkdir(parents=True)
    columns = {"n": {"dtype": "int64"}, "body": {"dtype": "string"}}
    info.write_text(json.dumps({"features": columns, "config_name": "default", "splits": {"train": {}, "test": {}}}))
    assert cached_data_sets() == [
        CachedDataSet(
            "someone/NewsSet", prepared, ("hub:someone/NewsSet::train:body", "hub:someone/NewsSet::test:body")
        ),
        CachedDataSet(
            "someone/Told", told, ("hub:someone/Told:small:train:story", "hub:someone/Told:small:test:story")
        ),
        CachedDataSet("someone/guessed", guessed, ("hub:someone/guessed::train:text",)),
    ]


def test_a_text_that_card_and_copy_describe_is_listed_once(cache: Path) -> None:
    card = CARD.replace("config_name: small", "config_name: default")
    store(cache, "someone/told", {"README.md": card, "train.jsonl": lines("a", column="story")})
    info = cache / "datasets" / "someone___told" / "default" / "0.0.0" / "abc" / "dataset_info.json"
    info.parent.mkdir(parents=True)
    columns = {"story": {"dtype": "string"}}
    info.write_text(json.dumps({"features": columns, "config_name": "default", "splits": {"train": {}, "test": {}}}))
    (told,) = cached_data_sets()
    assert told.texts == ("hub:someone/told::train:story", "hub:someone/told::test:story")


@pytest.mark.parametrize("card", ["---\n- a\n---\n", "---\ndataset_info: [3]\n---\n", "---\n{\n---\n", "\x00"])
def test_a_card_that_says_nothing_hides_no_data_set(cache: Path, card: str) -> None:
    store(cache, "someone/odd", {"README.md": card, "train.jsonl": lines("a")})
    assert [one.texts for one in cached_data_sets()] == [("hub:someone/odd::train:text",)]


def test_empty_cache_has_none(cache: Path) -> None:
    assert cached_data_sets() == []


def test_silent_hub_is_not_waited_for(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store(cache, "someone/news", {"train.jsonl": lines("old")}, "old")
    os.utime(cache / "hub" / "datasets--someone--news" / "snapshots" / "old", (1, 1))
    store(cache, "someone/news", {"train.jsonl": lines("one", "two"), "test.jsonl": lines("three")}, "new")
    monkeypatch.setattr(hub_reach, "_asked", {})
    monkeypatch.setattr(hub_reach, "PATIENCE", 0.5)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    from datasets import config  # before the clock starts

    monkeypatch.setattr(config, "HF_HUB_OFFLINE", False)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        began = time.monotonic()
        with pytest.raises(SDSError, match=r"else cannot be read: it is not on this machine and the hub is out of re"):
            read_text("hub:someone/else::train:body")
        assert read_text("hub:someone/news::train:body") == "one\n\ntwo"
        assert read_text("hub:someone/news::test:body") == "three"
        assert time.monotonic() - began < 6 and config.HF_HUB_OFFLINE is False


def test_column_that_was_guessed_wrong_is_refused_with_those_there_are(cache: Path) -> None:
    store(cache, "someone/news", {"train.jsonl": lines("one")})
    with pytest.raises(SDSError, match="has no column 'text'; allowed: body"):
        read_text(cached_data_sets()[0].texts[0])


def test_reachable_hub_is_asked_though_the_cache_has_some(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store(cache, "someone/news", {"train.jsonl": lines("old")})
    monkeypatch.setattr(hub_data_sets, "hub_reachable", lambda: True)
    monkeypatch.setattr("datasets.load_dataset", lambda name, *_, **__: [{"body": f"new, of {name}"}])
    assert read_text("hub:someone/news::train:body") == "new, of someone/news"
