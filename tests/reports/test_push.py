"""A model pushed to a hub that this machine serves: its files and card arrive, and the token is nowhere told."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sds_core.errors import SDSError
from sds_core.reports import push
from tests.models.stub_hub import TOKEN, stub_hub

ROOT = Path(__file__).parents[2]
PUSH = """
import sys
from pathlib import Path
from sds_core.errors import SDSError
from sds_core.reports.push import Hub
try:
    print(Hub("someone/pruned").push(Path(sys.argv[1])))
except SDSError as error:
    print(error)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "model"
    made.mkdir()
    for name, text in {"config.json": "{}", "model.safetensors": "weights", "README.md": "# A card"}.items():
        (made / name).write_text(text)
    return made


def output_of_push(folder: Path, address: str, token: str) -> str:
    """All that a process says that pushes: the client reads its settings when it is imported."""
    own = {"HF_ENDPOINT": address, "HF_TOKEN": token, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
    own |= {"HF_HOME": str(folder.parent / "cache")}
    command = [sys.executable, "-c", PUSH, str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | own, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_files_and_card_arrive_in_a_private_repository(folder):
    pushed: dict[str, object] = {}
    with stub_hub({}, {}, pushed) as (address, _):
        said = output_of_push(folder, address, TOKEN)
    assert pushed.pop("private") in (True, "private")
    assert pushed == {path.name: path.read_bytes() for path in folder.iterdir()}
    assert "someone/pruned" in said and TOKEN not in said


def test_token_that_the_hub_refuses_is_not_repeated(folder):
    pushed: dict[str, object] = {}
    with stub_hub({}, {}, pushed) as (address, _):
        said = output_of_push(folder, address, "hf_wrong")
    assert "does not let this token write to someone/pruned" in said and "hf_wrong" not in said and not pushed


def test_hub_out_of_reach_is_told_at_once(folder):
    began = time.monotonic()
    assert "the hub is out of reach" in output_of_push(folder, "http://127.0.0.1:9", TOKEN)
    assert time.monotonic() - began < 30


def test_without_a_token_nothing_is_asked(monkeypatch):
    monkeypatch.delenv(push.TOKEN, raising=False)
    with pytest.raises(SDSError, match="no token in HF_TOKEN"):
        push.Hub("someone/pruned")
    with pytest.raises(SDSError, match="not a name on the hub"):
        push.Hub("some one/pruned/x")
