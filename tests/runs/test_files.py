import errno
import json
import shutil
from collections import namedtuple

import pytest

from sds_core.errors import SDSError
from sds_core.runs.files import require_space, write_atomically, write_json


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})

    def full(partial):
        partial.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(SDSError, match=r"No space left.*MB free"):
        write_atomically(path, full)
    assert json.loads(path.read_text()) == {"old": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_not_a_number_is_refused(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert not (tmp_path / "a.json").exists()


def test_work_that_does_not_fit_is_refused_with_both_numbers(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, 5 << 20))
    with pytest.raises(SDSError, match=r"needs 7 MB.*5 MB are free"):
        require_space(tmp_path, 7 << 20)
    require_space(tmp_path, 5 << 20)
