"""Models and texts come from a hub through its own client, proved on a hub that this machine serves itself."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

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
loaded = load_model("someone/tiny")
windows = evaluation_windows(loaded, sys.argv[1], 2, 16)
try:
    load_model("someone/else")
except SDSError as error:
    message = str(error)
print(json.dumps([loaded.fingerprint, str(loaded.folder), windows.tolist(), message]))
"""


def ask(cache: Path, address: str, text: str, **more: str) -> list:
    """What a process of its own gets from the hub at an address: the client reads its settings when it is imported."""
    return run_script(ASK, [text], environment_of(cache, address, **more))


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


def run_script(script: str, arguments: list[str], environment: dict[str, str]) -> list:
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def news(tmp_path: Path) -> Path:
    """A data set's repository: one split in one file."""
    folder = tmp_path / "news"
    folder.mkdir()
    (folder / "train.jsonl").write_text("".join(json.dumps({"body": f"{row}\n"}) + "\n" for row in ROWS))
    return folder


def test_hub_model_and_dataset_load_then_work_offline(tiny_folder: Path, news: Path, tmp_path: Path) -> None:
    here = load_model(str(tiny_folder))
    (tmp_path / "local.txt").write_text("\n".join(ROWS))
    expected = evaluation_windows(here, str(tmp_path / "local.txt"), 2, 16).tolist()
    with stub_hub({"someone/tiny": tiny_folder}, {"someone/news": news}) as (address, asked):
        fingerprint, folder, windows, message = ask(tmp_path, address, "hub:someone/news::train:body")
    assert fingerprint == here.fingerprint
    assert windows == expected
    assert folder == str(tmp_path / "hub" / "models--someone--tiny" / "snapshots" / REVISION)
    assert message.startswith("model 'someone/else' cannot be loaded: the hub does not offer it")
    assert any("tiny/resolve" in path and path.endswith("model.safetensors") for path in asked)

    local = str(tmp_path / "local.txt")
    again = ask(tmp_path, "http://127.0.0.1:9", local, HF_HUB_OFFLINE="1")
    assert again[:3] == [fingerprint, folder, expected]
    assert "out of reach" in again[3]


TAKE = """
import json, sys
from pathlib import Path
from sds_core.errors import SDSError
from sds_core.models.convert import convert
from sds_core.models.load import load_model
fingerprints = [load_model(name).fingerprint for name in ("someone/twice", "someone/shards")]
try:
    load_model("someone/pickled")
except SDSError as error:
    message = str(error)
convert("someone/pickled", Path(sys.argv[1]))
print(json.dumps([*fingerprints, message, load_model(sys.argv[1]).model.lm_head.weight.sum().item()]))
"""


def test_only_the_weights_that_are_loaded_are_downloaded(tiny_folder: Path, tmp_path: Path) -> None:
    """Of repositories that hold them twice, in several files, or pickled."""
    tensors = load_file(tiny_folder / "model.safetensors")
    twice, shards, pickled = (shutil.copytree(tiny_folder, tmp_path / name) for name in ("twice", "shards", "pickled"))
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
    models = {"someone/twice": twice, "someone/shards": shards, "someone/pickled": pickled}
    with stub_hub(models, {}) as (address, asked):
        *fingerprints, message, total = run_script(TAKE, [str(tmp_path / "new")], environment_of(tmp_path, address))
    assert fingerprints[0] == load_model(str(tiny_folder)).fingerprint
    assert message.startswith(
        "model 'someone/pickled' has no safetensors. If it has *.bin files, convert them: python -m"
    )
    assert total == pytest.approx(tensors["lm_head.weight"].sum().item(), rel=1e-5)
    taken = {path.rpartition("/")[2] for path in asked if path.startswith("GET") and "resolve" in path}
    weights = {name for name in taken if name.endswith((".safetensors", ".bin", ".msgpack"))}
    assert weights == {"model.safetensors", *halves, "pytorch_model.bin"}
