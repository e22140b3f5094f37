"""The dense demo model's layers, as they ship."""

import zipfile

import pytest

from sds_core.errors import SDSError
from sds_core.runs import examples
from sds_core.runs.dense_layers import dense_layers
from sds_core.runs.layer_numbers import block_files, read_block
from tests.runs.archives import damaged

SHIPPED = examples.FOLDER


def test_all_layers_of_the_demo_ship(runs_root):
    found = dense_layers()
    assert len(found) == 30 * 7 and {block for block, _ in found} == set(range(30))
    base = examples.example("base-wanda")
    (path,) = block_files(base.folder)[3]
    assert found[3, "mlp.up_proj"] == read_block(path)["mlp.up_proj", "dense", 0]


def test_without_examples_there_is_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(examples, "FOLDER", tmp_path)
    assert dense_layers() == {}


def test_a_broken_example_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(examples, "FOLDER", tmp_path)
    (tmp_path / "base-wanda.zip").write_bytes(b"PK nonsense")
    with pytest.raises(SDSError, match=r"base-wanda\.zip is broken"):
        dense_layers()
    damaged(SHIPPED / "base-wanda.zip", tmp_path / "base-wanda.zip", "-003.parquet")
    with pytest.raises(SDSError, match=r"base-wanda\.zip is broken"):
        dense_layers()
    with zipfile.ZipFile(tmp_path / "base-wanda.zip", "w") as archive:
        archive.writestr("run/distributions/sparse-000.parquet", b"PAR1")
    with pytest.raises(SDSError, match="broken"):
        dense_layers()
