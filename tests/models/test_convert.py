"""Pickled weights become the same weights in safetensors; what is more than tensors is refused unread."""

import errno
import json
import os
import shutil
import stat
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from sds_core.__main__ import main
from sds_core.errors import SDSError
from sds_core.files import POINTER
from sds_core.models.convert import convert
from sds_core.models.load import load_model
from sds_core.models.tensor_files import save_tensors


@pytest.fixture
def pickled(folder: Path) -> Path:
    """The tiny model with its weights in a pickle; embeddings and head share memory."""
    tensors = load_file(folder / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]
    torch.save(tensors, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return folder


def test_converted_model_has_the_pickled_weights(pickled: Path, tmp_path: Path) -> None:
    expected = torch.load(pickled / "pytorch_model.bin", weights_only=True)
    convert(str(pickled), tmp_path / "new")
    state = load_model(str(tmp_path / "new")).model.state_dict()
    assert state.keys() == expected.keys() and all(torch.equal(state[name], expected[name]) for name in state)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "new"]


def test_files_that_may_not_be_written_are_converted_without_their_code(pickled: Path, tmp_path: Path) -> None:
    for name in ("config.json", "tokenizer_config.json"):
        fields = json.loads((pickled / name).read_text())
        (pickled / name).write_text(json.dumps(fields | {"auto_map": {"AutoConfig": "own.Own"}}))
        (pickled / name).chmod(0o444)
    convert(str(pickled), tmp_path / "new")
    for name in ("config.json", "tokenizer_config.json"):
        assert "auto_map" not in json.loads((tmp_path / "new" / name).read_text())
        assert os.stat(tmp_path / "new" / name).st_mode & stat.S_IWUSR


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (PermissionError(errno.EACCES, "Permission denied"), r"pytorch_model\.bin cannot be read: .*Permission denied"),
        (MemoryError(), "memory ran out"),
        (IndexError("pop from empty list"), "holds more than tensors, or is broken: pop from empty list"),
        (KeyError(7), "holds more than tensors, or is broken: 7"),
        (AssertionError(), "holds more than tensors, or is broken: AssertionError"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8589934592 bytes."),
            "8,192 MB",
        ),
    ],
)
def test_a_pickle_that_cannot_be_read_is_a_sentence_with_the_cause(
    pickled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, why: str
) -> None:
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(SDSError, match=why):
        convert(str(pickled), tmp_path / "new")


def test_a_pointer_to_a_pickle_is_called_one(pickled: Path, tmp_path: Path) -> None:
    (pickled / "pytorch_model.bin").write_bytes(POINTER + b"v1\noid sha256:0\nsize 9\n")
    with pytest.raises(SDSError, match=r"pytorch_model\.bin is a pointer to the file.*git lfs pull"):
        convert(str(pickled), tmp_path / "new")


def test_only_weights_that_share_memory_or_lie_in_pieces_are_copied(
    pickled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = torch.load(pickled / "pytorch_model.bin", weights_only=True)
    up, gate, down = (f"model.layers.1.mlp.{name}_proj.weight" for name in ("up", "gate", "down"))
    values[up], values[gate] = torch.stack([values[up], values[gate]])  # neither has all of their memory
    values[down] = values[down].T.contiguous().T
    read, copied = {name: value.data_ptr() for name, value in values.items()}, set[str]()

    def save(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
        copied.update(name for name, tensor in tensors.items() if tensor.data_ptr() != read[name])
        save_tensors(path, tensors, metadata)

    monkeypatch.setattr(torch, "load", lambda *_, **__: dict(values))
    monkeypatch.setattr("sds_core.models.convert.save_tensors", save)
    convert(str(pickled), tmp_path / "new")
    assert copied == {up, gate, down, "model.embed_tokens.weight"}  # the head, which shares its memory, comes first
    state = load_model(str(tmp_path / "new")).model.state_dict()
    assert all(torch.equal(state[name], value) for name, value in values.items())


def test_several_pickles_are_converted_file_by_file(pickled: Path, tmp_path: Path) -> None:
    tensors = torch.load(pickled / "pytorch_model.bin", weights_only=True)
    (pickled / "pytorch_model.bin").unlink()
    halves = {f"pytorch_model-0000{i + 1}-of-00002.bin": sorted(tensors)[i::2] for i in range(2)}
    for name, half in halves.items():
        torch.save({key: tensors[key] for key in half}, pickled / name)
    index = {"weight_map": {key: name for name, half in halves.items() for key in half}}
    (pickled / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    convert(str(pickled), tmp_path / "new")
    state = load_model(str(tmp_path / "new")).model.state_dict()
    assert all(torch.equal(state[name], tensors[name]) for name in tensors)
    assert not (tmp_path / "new" / "pytorch_model.bin.index.json").exists()


def test_refusal_of_pickles_names_the_command(
    pickled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SDSError, match=rf"Convert its \*\.bin files: python -m sds_core convert {pickled} NEW_FOLDER"):
        load_model(str(pickled))
    assert main(["convert", str(pickled), str(tmp_path / "new")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "new")
    load_model(str(tmp_path / "new"))


def test_code_in_a_pickle_is_not_run(pickled: Path, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self):
            return Path(tmp_path / "executed").touch, ()

    torch.save({"weight": Trap()}, pickled / "pytorch_model.bin")
    with pytest.raises(SDSError, match=r"pytorch_model\.bin holds more than tensors"):
        convert(str(pickled), tmp_path / "new")
    assert not (tmp_path / "executed").exists() and sorted(path.name for path in tmp_path.iterdir()) == ["copy"]


@pytest.mark.parametrize("content", [b"", b"PK", b"no pickle at all"])
def test_broken_pickle_is_refused(pickled: Path, tmp_path: Path, content: bytes) -> None:
    (pickled / "pytorch_model.bin").write_bytes(content)
    with pytest.raises(SDSError, match=r"pytorch_model\.bin holds more than tensors, or is broken"):
        convert(str(pickled), tmp_path / "new")


def test_incomplete_pickle_is_refused_without_leftovers(pickled: Path, tmp_path: Path) -> None:
    torch.save({"lm_head.weight": torch.ones(288, 32)}, pickled / "pytorch_model.bin")
    with pytest.raises(SDSError, match="lacks 29 of its weights"):
        convert(str(pickled), tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy"]


def test_existing_folder_is_not_overwritten(pickled: Path, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    with pytest.raises(SDSError, match="the folder to convert to exists"):
        convert(str(pickled), tmp_path / "new")


def test_model_without_pickles_is_refused(folder: Path, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "new", ignore_errors=True)
    with pytest.raises(SDSError, match="no pickled weights"):
        convert(str(folder), tmp_path / "new")
