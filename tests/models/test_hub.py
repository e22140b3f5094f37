"""Models and texts come from a hub through its own client, proved on a hub that this machine serves itself."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from sds_core.models.calibration import evaluation_windows
from sds_core.models.load import load_model
from tests.models.stub_hub import REVISION, stub_hub

ROOT = Path(__file__).parents[2]
ROWS = [f"Row {i} of the news, which is long enough to be a text." for i in range(20)]
ASK = """
import json, sys
from sds_core.errors import SDSError
from sds_core.models.load import load_model
from sds_core.models.calibration import evaluation_windows
def refused(name):
    try:
        load_model(name)
    except SDSError as error:
        return str(error)
loaded = load_model("someone/tiny")
windows = evaluation_windows(loaded, sys.argv[1], 2, 16)
found = {"fingerprint": loaded.fingerprint, "folder": str(loaded.folder), "windows": windows.tolist()}
found["unknown"] = refused("someone/else")
"""
TAKE = """
from pathlib import Path
from sds_core.models.convert import convert
found["others"] = [load_model(name).fingerprint for name in ("someone/twice", "someone/shards")]
found["pickled"] = refused("someone/pickled")
convert("someone/pickled", Path(sys.argv[2]))
found["total"] = load_model(sys.argv[2]).model.lm_head.weight.sum().item()
"""


def environment_of(cache: Path, address: str, **more: str) -> dict[str, str]:
    """The environment of a process that finds the hub at an address and keeps all caches in a folder."""
    folders = {"HF_HUB_CACHE": str(cache / "hub"), "HF_HOME": str(cache), "SDS_CACHE": str(cache)}
    return {
        **os.environ,
        **folders,
        "HF_ENDPOINT": address,
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        **more,
    }


def run_script(script: str, arguments: list[str], environment: dict[str, str]) -> dict[str, Any]:
    """What a process of its own finds: the client reads its settings when it is imported."""
    done = subprocess.run(
        [sys.executable, "-c", f"{script}print(json.dumps(found))", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@dataclass
class Visit:
    """What one process got from the hub, and what the hub was asked."""

    cache: Path
    found: dict[str, Any]
    asked: list[str]
    shards: set[str]
    """Names of the files in which one model has its weights."""


@pytest.fixture(scope="module")
def visit(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Visit:
    """A data set of one split, and models that hold their weights once, twice, in several files, or pickled."""
    place = tmp_path_factory.mktemp("hub")
    news = place / "news"
    news.mkdir()
    (news / "train.jsonl").write_text("".join(json.dumps({"body": f"{row}\n"}) + "\n" for row in ROWS))
    tensors = load_file(tiny_folder / "model.safetensors")
    twice, shards, pickled = (shutil.copytree(tiny_folder, place / name) for name in ("twice", "shards", "pickled"))
    for name in ("consolidated.safetensors", "model.fp16.safetensors", "pytorch_model.bin", "flax_model.msgpack"):
        (twice / name).write_bytes(b"not needed")
    (shards / "model.safetensors").unlink()
    halves = {f"model-0000{i + 1}-of-00002.safetensors": sorted(tensors)[i::2] for i in range(2)}
    for name, half in halves.items():
        save_file({key: tensors[key] for key in half}, shards / name, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": {key: name for name, half in halves.items() for key in half}}
    (shards / "model.safetensors.index.json").write_text(json.dumps(index))
    (shards / "consolidated.safetensors").write_bytes(b"not needed")
    (pickled / "model.safetensors").unlink()
    torch.save(tensors, pickled / "pytorch_model.bin")
    models = {"tiny": tiny_folder, "twice": twice, "shards": shards, "pickled": pickled}
    with stub_hub({f"someone/{name}": at for name, at in models.items()}, {"someone/news": news}) as (address, asked):
        arguments = ["hub:someone/news::train:body", str(place / "new")]
        found = run_script(ASK + TAKE, arguments, environment_of(place, address))
    return Visit(place, found, asked, set(halves))


def test_hub_model_and_dataset_load_then_work_offline(visit: Visit, tiny_folder: Path, tmp_path: Path) -> None:
    here, found = load_model(str(tiny_folder)), visit.found
    local = str(tmp_path / "local.txt")
    Path(local).write_text("\n".join(ROWS))
    assert found["fingerprint"] == here.fingerprint
    assert found["windows"] == evaluation_windows(here, local, 2, 16).tolist()
    assert found["folder"] == str(visit.cache / "hub" / "models--someone--tiny" / "snapshots" / REVISION)
    assert found["unknown"].startswith("model 'someone/else' cannot be loaded: the hub does not offer it")
    assert any("tiny/resolve" in path and path.endswith("model.safetensors") for path in visit.asked)

    again = run_script(ASK, [local], environment_of(visit.cache, "http://127.0.0.1:9", HF_HUB_OFFLINE="1"))
    assert all(again[name] == found[name] for name in ("fingerprint", "folder", "windows"))
    assert "out of reach" in again["unknown"]


def test_only_the_weights_that_are_loaded_are_downloaded(visit: Visit, tiny_folder: Path) -> None:
    found, tensors = visit.found, load_file(tiny_folder / "model.safetensors")
    assert found["others"][0] == load_model(str(tiny_folder)).fingerprint
    assert found["pickled"].startswith(
        "model 'someone/pickled' has no safetensors. If it has *.bin files, convert them: python -m"
    )
    assert found["total"] == pytest.approx(tensors["lm_head.weight"].sum().item(), rel=1e-5)
    taken = {path.rpartition("/")[2] for path in visit.asked if path.startswith("GET") and "resolve" in path}
    weights = {name for name in taken if name.endswith((".safetensors", ".bin", ".msgpack"))}
    assert weights == {"model.safetensors", *visit.shards, "pytorch_model.bin"}
