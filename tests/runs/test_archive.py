"""Packed runs: the same numbers come back, and nothing else gets in."""

import io
import json
import math
import os
import zipfile
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet
import pytest

from sds_core.errors import SDSError
from sds_core.pruning.bins import BINS, JOINT
from sds_core.runs import distribution_files, layer_stats, note, typed_json
from sds_core.runs.archive import pack, unpack
from sds_core.runs.config import RunConfig
from sds_core.runs.event_log import from_line, to_line
from sds_core.runs.events import ModelLoaded
from sds_core.runs.layer_numbers import read_block
from sds_core.runs.new_run import create
from sds_core.runs.run_folder import ids
from tests.records import layer_row
from tests.runs.archives import damaged


@pytest.fixture
def packed(finished, tmp_path):
    pack(finished, tmp_path / "run.zip")
    return tmp_path / "run.zip"


def changed(packed, path, **entries):
    """A copy of an archive with some entries replaced or added; None takes one away."""
    with zipfile.ZipFile(packed) as archive:
        files = {entry: archive.read(entry) for entry in archive.namelist()}
    files |= entries
    with zipfile.ZipFile(path, "w") as archive:
        for name, value in files.items():
            if value is not None:
                archive.writestr(name, value)
    return path


def test_a_packed_run_comes_back_without_its_weights(finished, packed, runs_root):
    run = unpack(packed)
    assert ids() == [run.id] == [finished.id] and run.folder.parent == runs_root
    assert run.config == finished.config and run.result() == finished.result() and run.state() == "finished"
    pd.testing.assert_frame_equal(layer_stats.load(run.folder), layer_stats.load(finished.folder))
    assert not list(run.folder.glob("phase*"))


def test_a_second_import_gets_an_id_of_its_own(packed, runs_root):
    first, second = unpack(packed), unpack(io.BytesIO(packed.read_bytes()))
    assert sorted(ids()) == sorted([first.id, second.id]) and second.id.startswith(first.id)


def test_what_is_not_finished_is_not_packed(tmp_path, runs_root):
    with pytest.raises(SDSError, match="is new, not finished"):
        pack(create(RunConfig()), tmp_path / "x.zip")


@pytest.mark.parametrize(
    "name", ["../evil", "/etc/evil", "{run}/../../evil", "{run}/phase3/block-000.safetensors", "x/config.json"]
)
def test_foreign_files_are_refused_and_nothing_is_written(finished, packed, tmp_path, runs_root, name):
    bad = changed(packed, tmp_path / "bad.zip", **{name.format(run=finished.id): b"x"})
    with pytest.raises(SDSError, match="holds other files"):
        unpack(bad)
    assert not list(runs_root.glob("*")) and not list(tmp_path.rglob("evil*"))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", b"{"),
        ("config.json", json.dumps({"pruner": "no body"}).encode()),
        ("config.json", None),
        ("result.json", b"{}"),
        ("result.json", b"[]"),
        ("result.json", None),
        ("distributions/fused-000.parquet", b"PAR1"),
    ],
)
def test_broken_archive_is_refused_and_nothing_is_written(finished, packed, tmp_path, runs_root, name, content):
    bad = changed(packed, tmp_path / "bad.zip", **{f"{finished.id}/{name}": content})
    with pytest.raises(SDSError, match=r"bad\.zip is not a sound packed run"):
        unpack(bad)
    assert not list(runs_root.glob("*"))


def test_file_that_is_no_archive_is_reported(tmp_path, runs_root):
    (tmp_path / "x.zip").write_text("no")
    with pytest.raises(SDSError, match="not a packed run"):
        unpack(tmp_path / "x.zip")
    with pytest.raises(SDSError, match="no such file"):
        unpack(tmp_path / "y.zip")


def entries(packed):
    """What an archive holds, by name."""
    with zipfile.ZipFile(packed) as archive:
        return {entry: archive.read(entry) for entry in archive.namelist()}


def by_another_method(packed, path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        for name, value in entries(packed).items():
            archive.writestr(name, value)


def flagged(offset, value):
    """Sets bits in the flags or the method of the first entry of the directory."""

    def damage(packed, path):
        data = bytearray(packed.read_bytes())
        data[data.index(b"PK\x01\x02") + offset] |= value
        path.write_bytes(data)

    return damage


def name_in_broken_utf8(packed, path):
    data = bytearray(packed.read_bytes())
    place = data.index(b"PK\x01\x02")
    data[place + 9] |= 8  # says that names are UTF-8
    data[place + 46] = 0xFF
    path.write_bytes(data)


def twice(packed, path):
    with zipfile.ZipFile(path, "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        for name, value in [*entries(packed).items(), next(iter(entries(packed).items()))]:
            archive.writestr(name, value)


def with_entry(name, content):
    return lambda packed, path: changed(
        packed, path, **{f"{next(iter(entries(packed))).split('/')[0]}/{name}": content}
    )


def with_option(**options):
    def damage(packed, path):
        files = entries(packed)
        (name,) = (name for name in files if name.endswith("config.json"))
        changed(packed, path, **{name: json.dumps(typed_json.load(files[name]) | options).encode()})

    return damage


def of_itself(packed, path):
    run = next(iter(entries(packed))).split("/")[0]
    parent = {"run": run, "phase": 1, "sha256": "0"}
    with_option(method="sds", schedule="staged", phase=2, parent=parent)(packed, path)


def with_model(**changes):
    def damage(packed, path):
        files = entries(packed)
        (name,) = (name for name in files if name.endswith("events.jsonl"))
        events = map(from_line, files[name].splitlines())
        lines = (to_line(replace(one, **changes) if isinstance(one, ModelLoaded) else one) for one in events)
        changed(packed, path, **{name: "".join(lines).encode()})

    return damage


def with_losses(*losses):
    def damage(packed, path):
        files = entries(packed)
        (name,) = (name for name in files if name.endswith("result.json"))
        result = typed_json.load(files[name])
        for measured in result["perplexity"].values():
            measured["losses"] = losses
        changed(packed, path, **{name: json.dumps(result).encode()})

    return damage


def with_row(**changes):
    def damage(packed, path):
        distribution_files.save(path.with_suffix(".parquet"), [layer_row(**changes)])
        content = path.with_suffix(".parquet").read_bytes()
        with_entry("distributions/fused-000.parquet", content)(packed, path)

    return damage


def with_unknown_errors(packed, path):
    distribution_files.save(path.with_suffix(".parquet"), [layer_row(loss=math.nan), layer_row(round=1)])
    content = path.with_suffix(".parquet").read_bytes()
    names = [name for name in entries(packed) if name.endswith(".parquet")]
    changed(packed, path, **dict.fromkeys(names, content))


DAMAGE = {
    "a deflated stream": lambda packed, path: damaged(packed, path, "events.jsonl"),
    "another method": by_another_method,
    "an encrypted file": flagged(8, 1),
    "an unknown method": flagged(10, 99),
    "a name in broken UTF-8": name_in_broken_utf8,
    "a file twice": twice,
    "half": lambda packed, path: path.write_bytes(packed.read_bytes()[: packed.stat().st_size // 2]),
    "deep JSON": with_entry("config.json", b"[" * 100_000),
    "deep events": with_entry("events.jsonl", b"[" * 100_000 + b"\n"),
    "a pattern that is a number": with_option(pattern=5),
    "an unknown option": with_option(nothing=5),
    "an overlong note": with_entry("note.txt", b"x" * (note.LONGEST + 1)),
    "a note that is no text": with_entry("note.txt", b"\xff\xfe"),
    "a huge note": with_entry("note.txt", b"x" * (1 << 17)),
    "a log line that is a number": with_entry("events.jsonl", b"1\n"),
    "an empty log": with_entry("events.jsonl", b""),
    "a run of itself": of_itself,
    "a single window": with_losses(2.0),
    "no errors of layers": with_unknown_errors,
    "a missing count": with_row(counts=[None, *[1] * (BINS - 1)]),
    "a missing joint count": with_row(joint=[None, *[1] * (JOINT**2 - 1)]),
    "no columns": with_row(columns=0),
    "a norm that is no number": with_row(norms=[float("nan")] * 8),
    "an infinite norm": with_row(norms=[float("inf")] * 8),
    "norms of other inputs": with_row(norms=[1.0] * 9),
}


def test_a_row_written_by_hand_is_sound(packed, tmp_path, runs_root):
    with_row(norms=[1.0] * 8, joint=[1] * JOINT**2)(packed, tmp_path / "sound.zip")
    unpack(tmp_path / "sound.zip")


def test_more_layers_than_pages_can_draw_are_refused(packed, tmp_path, runs_root, monkeypatch):
    with_model(blocks=10_000)(packed, tmp_path / "many.zip")
    unpack(tmp_path / "many.zip").delete()
    monkeypatch.setattr("sds_core.runs.archive.MOST_LAYERS", 69_999)
    with pytest.raises(SDSError, match="too many layers: got '70000'"):
        unpack(tmp_path / "many.zip")
    assert not list(runs_root.glob("*"))


def test_a_file_older_than_zip_knows_is_packed(finished, packed, tmp_path, runs_root):
    run = unpack(packed)
    os.utime(run.folder / "config.json", (0, 0))
    pack(run, tmp_path / "old.zip")
    assert unpack(tmp_path / "old.zip").config == run.config


@pytest.mark.parametrize("how", DAMAGE)
def test_each_damage_is_one_sentence_and_nothing_is_written(packed, tmp_path, runs_root, how):
    DAMAGE[how](packed, tmp_path / "bad.zip")
    with pytest.raises(SDSError) as refusal:
        unpack(tmp_path / "bad.zip")
    assert str(refusal.value).startswith("bad.zip ") and "\n" not in str(refusal.value)
    assert not list(runs_root.glob("*"))


def test_small_file_that_unfolds_to_much_is_refused_unread(finished, packed, tmp_path, runs_root):
    distribution_files.save(tmp_path / "one.parquet", [layer_row()])
    many = pyarrow.parquet.read_table(tmp_path / "one.parquet").take(pyarrow.array(np.zeros(20_000, dtype=np.int64)))
    pyarrow.parquet.write_table(many, tmp_path / "many.parquet", compression="zstd")
    assert (tmp_path / "many.parquet").stat().st_size < 100_000
    content = (tmp_path / "many.parquet").read_bytes()
    bad = changed(packed, tmp_path / "bad.zip", **{f"{finished.id}/distributions/fused-000.parquet": content})
    with pytest.raises(SDSError, match=r"would unfold to 4,\d+,\d+ values"):
        unpack(bad)
    assert not list(runs_root.glob("*"))
    run = unpack(packed)
    (run.folder / "distributions" / "fused-000.parquet").write_bytes(content)
    with pytest.raises(SDSError, match="would unfold"):
        layer_stats.load(run.folder)
    with pytest.raises(SDSError, match="would unfold"):
        read_block(run.folder / "distributions" / "fused-000.parquet")


def test_an_archive_that_unpacks_to_too_much_is_refused(finished, packed, tmp_path, runs_root, monkeypatch):
    monkeypatch.setattr("sds_core.runs.archive.LARGEST", 1000)
    with pytest.raises(SDSError, match="unpacks to too much"):
        unpack(packed)
