"""Models and texts come from a hub through its own client, proved on a hub that this machine serves itself."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

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
    told = str(error)
print(json.dumps([loaded.fingerprint, str(loaded.folder), windows.tolist(), told]))
"""


def ask(cache: Path, address: str, text: str, **more: str) -> list:
    """What a process of its own gets from the hub at an address: the client reads its settings when it is imported."""
    folders = {"HF_HUB_CACHE": str(cache / "hub"), "HF_HOME": str(cache), "SDS_CACHE": str(cache)}
    environment = {
        **os.environ,
        **folders,
        "HF_ENDPOINT": address,
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        **more,
    }
    done = subprocess.run(
        [sys.executable, "-c", ASK, text], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240
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
        fingerprint, folder, windows, told = ask(tmp_path, address, "hub:someone/news::train:body")
    assert fingerprint == here.fingerprint
    assert windows == expected
    assert folder == str(tmp_path / "hub" / "models--someone--tiny" / "snapshots" / REVISION)
    assert told.startswith("model 'someone/else' cannot be loaded: the hub does not offer it")
    assert any("tiny/resolve" in path and path.endswith("model.safetensors") for path in asked)

    local = str(tmp_path / "local.txt")
    again = ask(tmp_path, "http://127.0.0.1:9", local, HF_HUB_OFFLINE="1")
    assert again[:3] == [fingerprint, folder, expected]
    assert "out of reach" in again[3]
