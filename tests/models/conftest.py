"""What the tests of models share."""

import shutil
from pathlib import Path

import pytest

from sds_core.models import cgroups


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that a test may spoil."""
    return shutil.copytree(tiny_folder, tmp_path / "copy")


@pytest.fixture
def grouped(tmp_path, monkeypatch):
    """Write the files of cgroups, and let this process be in one of them."""
    monkeypatch.setattr(cgroups, "GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(cgroups, "MEMBERSHIP", tmp_path / "membership")

    def write(membership, **files):
        (tmp_path / "membership").write_text(membership)
        for path, content in files.items():
            target = tmp_path / "cgroup" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(content)

    return write
