"""What makes up a model is told from what lies beside it, and what cannot be read is named."""

import errno
import os
from pathlib import Path

import pytest

from sds_core.errors import SDSError
from sds_core.models import model_files
from sds_core.models.check_model import check_model
from sds_core.models.find_model import find_model
from sds_core.models.load import load_model
from sds_core.models.model_files import changed_files


def test_a_file_whose_name_is_not_utf8_is_no_part_of_the_model(folder: Path) -> None:
    before = load_model(str(folder)).sha256
    (folder / os.fsdecode(b"vocab.\xff")).write_text("mine")
    assert load_model(str(folder)).sha256 == before


def test_a_note_that_an_old_record_counts_to_the_model_may_go() -> None:
    before = {"config.json": "1", "notes.txt": "2", "checkpoint/model.safetensors": "3", "tokenizer.json": "4"}
    assert changed_files(before, {"tokenizer.json": "4"}) == ["config.json", "checkpoint/model.safetensors"]


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_links_that_lead_nowhere_are_named_with_the_way_to_copy_them(folder: Path, tmp_path: Path, name: str) -> None:
    """As a snapshot of the hub's cache has them once it is copied with `cp -r`."""
    (folder / name).unlink()
    (folder / name).symlink_to(tmp_path / "blobs" / "0123")
    for ask in (find_model, check_model):
        with pytest.raises(SDSError, match=rf"{name} is a link to a file that is not there\. Copy .*: cp -rL"):
            ask(str(folder))


def test_a_file_that_may_not_be_read_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(model_files, "refuse_pointer", refuse)  # whoever runs the tests may read everything
    with pytest.raises(SDSError, match=r"copy/config\.json cannot be read: Permission denied"):
        find_model(str(folder))
