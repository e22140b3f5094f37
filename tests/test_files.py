import errno
import json
import os
import shutil
import time
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor

import pytest

from sds_core.errors import SDSError
from sds_core.files import (
    STALE,
    disk_error,
    in_units,
    make_folder,
    new_folder,
    require_space,
    user_path,
    write_atomically,
    write_json,
)


def test_failed_write_leaves_the_old_file_only(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})

    def full(temporary):
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(SDSError, match=r"No space left.*MB free"):
        write_atomically(path, full)
    assert json.loads(path.read_text()) == {"old": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_concurrent_writers_succeed_and_reads_are_whole(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, ["start"] * 500)

    def write(writer):
        for i in range(20):
            write_json(path, [f"{writer}-{i}"] * 500)

    with ThreadPoolExecutor(4) as pool:
        writers = [pool.submit(write, writer) for writer in range(4)]
        while not all(writer.done() for writer in writers):
            assert len(set(json.loads(path.read_text()))) == 1
    assert [writer.exception() for writer in writers] == [None] * 4
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_leftovers_of_killed_writers_are_removed(tmp_path):
    names = list[str]()
    write_atomically(tmp_path / "a.json", lambda temporary: names.append(temporary.name) or temporary.touch())
    old, young, folder = (tmp_path / name for name in (names[0], f".{'a' * 16}.partial", ".0123456789abcdef.partial"))
    others = [tmp_path / name for name in (".backup.partial", ".0123456789abcdef0.partial", "0123456789abcdef.partial")]
    for path in (old, young, *others[1:]):
        path.touch()
    for path in (folder, others[0]):
        (path / "inside").mkdir(parents=True)
    for path in (old, folder, *others):
        os.utime(path, (time.time() - STALE - 1,) * 2)
    write_json(tmp_path / "a.json", 1)
    assert {p.name for p in tmp_path.iterdir()} == {young.name, "a.json", *(p.name for p in others)}
    assert (others[0] / "inside").exists()


def test_a_removed_folder_is_not_brought_back(tmp_path):
    with pytest.raises(SDSError, match=r"the folder .*gone is not there"):
        write_json(tmp_path / "gone" / "a.json", 1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (errno.ENOSPC, r"No space left on device \(\d+ MB free\)\. Free some space"),
        (errno.EDQUOT, r"quota exceeded \(\d+ MB free\)\. Free some space"),
        (errno.EROFS, r"Read-only file system\. Allow writing there, or choose another place"),
        (errno.EACCES, r"Permission denied\. Allow writing there"),
        (errno.EIO, r"Input/output error\.$"),
    ],
)
def test_failed_write_reports_its_true_cause(tmp_path, code, message):
    with pytest.raises(SDSError, match=message):
        raise disk_error(tmp_path / "not" / "there" / "a.json", OSError(code, os.strerror(code)))


@pytest.mark.parametrize(
    ("place", "cure"),
    [
        ("stick/report.html", r"choose another place\.$"),
        ("cache/models/m/model.safetensors", r"choose another place with SDS_CACHE\.$"),
        ("runs/r/phase1/block-000.safetensors", r"choose another place with SDS_RUNS; finished blocks are kept\.$"),
    ],
)
def test_another_place_is_chosen_by_the_setting_of_this_one(tmp_path, monkeypatch, place, cure):
    monkeypatch.setenv("SDS_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("SDS_CACHE", str(tmp_path / "cache"))
    with pytest.raises(SDSError, match=cure):
        raise disk_error(tmp_path / place, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, 0))
    with pytest.raises(SDSError, match=cure.replace("; finished blocks are kept", "")):
        require_space((tmp_path / place).parent, 1 << 20)


def test_a_copy_of_what_cannot_be_read_does_not_blame_its_target(tmp_path):
    (tmp_path / "target").mkdir()
    source = tmp_path / "source"
    source.mkdir()
    with pytest.raises(SDSError, match=rf"^{source} cannot be read: Is a directory"):
        write_atomically(tmp_path / "target" / "copy", lambda temporary: shutil.copyfile(source, temporary))
    assert list((tmp_path / "target").iterdir()) == []
    full = OSError(errno.ENOSPC, "No space left on device", str(source), None, str(tmp_path / "target" / "copy"))
    for error in (full, OSError(errno.ENOSPC, "No space left on device", str(source))):  # as copyfile and symlink do
        with pytest.raises(SDSError, match=r"copy cannot be written: No space left on device \(\d+ MB free\)"):
            raise disk_error(tmp_path / "target" / "copy", error)
    source.rmdir()
    source.write_text("in the way")
    with pytest.raises(SDSError, match=rf"^{source / 'a' / 'b' / 'c'} cannot be written"):
        make_folder(source / "a" / "b" / "c")


def test_a_folder_is_whole_or_not_there(tmp_path):
    with pytest.raises(SDSError, match="No space left"), new_folder(tmp_path / "made") as folder:
        (folder / "half").touch()
        raise OSError(errno.ENOSPC, "No space left on device")
    assert list(tmp_path.iterdir()) == []
    with new_folder(tmp_path / "made") as folder:
        (folder / "file").touch()
        assert not (tmp_path / "made").exists()
    with pytest.raises(SDSError, match="not empty"), new_folder(tmp_path / "made") as folder:
        (folder / "other").touch()
    assert [p.relative_to(tmp_path).as_posix() for p in sorted(tmp_path.rglob("*"))] == ["made", "made/file"]


def test_not_a_number_is_refused(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert not (tmp_path / "a.json").exists()


def test_oversized_work_is_refused_with_both_numbers(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, 5 << 20))
    with pytest.raises(SDSError, match=r"7 MB are needed.*5 MB are free"):
        require_space(tmp_path, 7 << 20)
    require_space(tmp_path, 5 << 20)


@pytest.mark.parametrize("name", ["x" * 300, "/" + "x" * 5000, "a\0b", "\ud800", "~no-such-user/x"])
def test_a_name_that_no_file_can_have_is_a_sentence(name):
    with pytest.raises(SDSError, match=r"^not a path: "):
        user_path(name)


def test_a_path_may_lead_to_nothing_yet(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "file").touch()
    for name in ("~/new", "~/file", "~/file/below", "~"):
        assert user_path(name) == tmp_path / name.removeprefix("~").strip("/")
    with pytest.raises(SDSError, match="Not a directory"):
        write_json(tmp_path / "file" / "below", {})


def test_sizes_are_in_units_that_say_something():
    assert [in_units(size) for size in (0, 185, 12_340_000, 999_999_999, 1_234_567_890)] == [
        "0.0 kB",
        "0.2 kB",
        "12.3 MB",
        "1,000.0 MB",
        "1.2 GB",
    ]
