"""A GGUF file becomes the same model in safetensors, once, or is refused without leftovers."""

import json
import os
import shutil
import time
from pathlib import Path

import gguf
import pytest
import torch
from safetensors.torch import load_file

from sds_core.errors import SDSError
from sds_core.files import POINTER, STALE
from sds_core.models import gguf_import
from sds_core.models.find_model import find_model
from sds_core.models.gguf_import import convert_gguf
from sds_core.models.load import load_model
from tests.models.folders import UP, change_config, change_weights
from tests.models.gguf_files import write_gguf


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SDS_CACHE", str(tmp_path / "own"))
    return tmp_path / "own"


def leftovers(cache: Path) -> list[str]:
    """What lies in the cache beside locks."""
    return sorted(path.name for path in (cache / "models").glob("*") if path.suffix != ".lock")


def test_a_gguf_file_is_the_same_model_and_tokenizer(tiny_folder: Path, tmp_path: Path, own_cache: Path) -> None:
    loaded = load_model(str(write_gguf(tiny_folder, tmp_path / "tiny.gguf")))
    original = load_model(str(tiny_folder))
    expected = original.model.state_dict()
    assert set(loaded.model.state_dict()) == set(expected)
    assert all(torch.equal(value, expected[key]) for key, value in loaded.model.state_dict().items())
    assert loaded.tokenizer("Prunes half of it, ä").input_ids == original.tokenizer("Prunes half of it, ä").input_ids
    loaded.model.save_pretrained(tmp_path / "again")  # its loader's quantiser is gone
    assert loaded.folder.is_relative_to(own_cache)
    for name in ("config.json", "generation_config.json"):  # another version would make it another model
        fields = json.loads((loaded.folder / name).read_text())
        assert fields and "transformers_version" not in fields


def test_a_gguf_file_is_converted_once(
    tiny_folder: Path, tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_gguf(tiny_folder, tmp_path / "tiny.gguf")
    first = find_model(str(path))
    assert leftovers(own_cache) == [first.name]
    monkeypatch.setattr(gguf_import, "_dequantise", lambda *_: pytest.fail("converted twice"))
    assert find_model(str(path)) == first
    (tmp_path / "elsewhere").mkdir()
    assert find_model(str(shutil.copy(path, tmp_path / "elsewhere"))) == first


def test_files_beside_a_gguf_file_change_nothing(folder: Path, tmp_path: Path, own_cache: Path) -> None:
    path = write_gguf(folder, tmp_path / "tiny.gguf")
    alone = load_model(str(path)).sha256
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"] = {token: 287 - place for token, place in tokenizer["model"]["vocab"].items()}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer", "unk_token": "a"}))
    change_config(folder, rms_norm_eps=0.5)
    shutil.rmtree(own_cache)
    assert load_model(str(shutil.copy(path, folder))).sha256 == alone


def test_the_gguf_file_that_is_named_is_read_not_one_of_its_name_here(
    folder: Path, tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there").mkdir()
    path = write_gguf(folder, tmp_path / "there" / "tiny.gguf")
    change_weights(folder, lambda weights: weights[UP].mul_(2))
    write_gguf(folder, tmp_path / "tiny.gguf")
    monkeypatch.chdir(tmp_path)
    named = load_file(find_model(str(path)) / "model.safetensors")[UP]
    assert torch.equal(2 * named, load_file(folder / "model.safetensors")[UP])


@pytest.mark.parametrize("costly", ["GGUFReader", "get_tensor_name_map"])
def test_a_gguf_file_is_parsed_and_named_once(
    costly: str, tiny_folder: Path, tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, make = [], getattr(gguf, costly)
    monkeypatch.setattr(gguf, costly, counted := lambda *given: calls.append(given) or make(*given))
    monkeypatch.chdir(tmp_path)
    convert_gguf(write_gguf(tiny_folder, Path("tiny.gguf")))
    assert len(calls) == 1 and getattr(gguf, costly) is counted


def test_changed_gguf_file_is_converted_again(tiny_folder: Path, folder: Path, tmp_path: Path, own_cache: Path) -> None:
    path = write_gguf(tiny_folder, tmp_path / "tiny.gguf")
    first = find_model(str(path))
    change_weights(folder, lambda weights: weights[UP].mul_(2))
    second = find_model(str(write_gguf(folder, path)))
    assert second != first
    assert torch.equal(load_file(second / "model.safetensors")[UP], 2 * load_file(first / "model.safetensors")[UP])


@pytest.mark.parametrize("size", [0, 3, 4, 16, 30, 100, 2000, 5000])
def test_truncated_gguf_file_is_refused_without_leftovers(
    tiny_folder: Path, tmp_path: Path, own_cache: Path, size: int
) -> None:
    path = write_gguf(tiny_folder, tmp_path / "tiny.gguf")
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(SDSError, match=r"tiny\.gguf is not a GGUF (file: it begins|model that)"):
        load_model(str(path))
    assert leftovers(own_cache) == []


@pytest.mark.parametrize(
    ("place", "value"), [(8, 2**60), (16, 2**60), (16, 2**63), (4, 99), (0, 0)], ids=str
)  # the number of tensors, of entries, the version, the magic
def test_a_gguf_header_that_lies_is_refused(
    tiny_folder: Path, tmp_path: Path, own_cache: Path, place: int, value: int
) -> None:
    path = write_gguf(tiny_folder, tmp_path / "tiny.gguf")
    data = bytearray(path.read_bytes())
    size = 4 if place < 8 else 8
    data[place : place + size] = value.to_bytes(size, "little")
    path.write_bytes(data)
    with pytest.raises(SDSError, match=r"tiny\.gguf is not a GGUF (file: it begins|model that)"):
        load_model(str(path))
    assert leftovers(own_cache) == []


def test_gguf_file_of_too_many_blocks_is_refused(
    tiny_folder: Path, folder: Path, tmp_path: Path, own_cache: Path
) -> None:
    change_config(folder, num_hidden_layers=10**9)
    with pytest.raises(SDSError, match=r"tiny\.gguf: num_hidden_layers: got '1000000000'"):
        load_model(str(write_gguf(folder, tmp_path / "tiny.gguf")))


def test_gguf_weight_that_is_not_finite_is_named(folder: Path, tmp_path: Path, own_cache: Path) -> None:
    change_weights(folder, lambda weights: weights[UP][3].fill_(float("nan")))
    with pytest.raises(SDSError, match=f"weight {UP} .* has NaN or infinite values"):
        load_model(str(write_gguf(folder, tmp_path / "tiny.gguf")))
    assert leftovers(own_cache) == []


def test_code_beside_a_gguf_file_is_not_executed(
    folder: Path, tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_gguf(folder, folder / "tiny.gguf")
    trap = f"open({str(tmp_path / 'executed')!r}, 'w')\nclass Config: pass\nclass Model: pass\nclass Own: pass\n"
    (folder / "code.py").write_text(trap)
    change_config(folder, auto_map={"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model"})
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings |= {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["code.Own", None]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("a question on standard input"))
    try:
        load_model(str(path))
    except SDSError as error:
        assert "custom code" in str(error)
    assert not (tmp_path / "executed").exists()


def test_a_conversion_that_fails_half_way_leaves_nothing_behind(
    tiny_folder: Path, tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Path, folder: Path) -> None:
        (folder / "config.json").write_text("{")
        raise OSError("no space left")

    monkeypatch.setattr(gguf_import, "_dequantise", fail)
    with pytest.raises(SDSError, match="no space left"):
        convert_gguf(write_gguf(tiny_folder, tmp_path / "tiny.gguf"))
    assert leftovers(own_cache) == []


def test_a_conversion_that_was_cut_off_is_done_again(tiny_folder: Path, tmp_path: Path, own_cache: Path) -> None:
    path = write_gguf(tiny_folder, tmp_path / "tiny.gguf")
    target = find_model(str(path))
    shutil.rmtree(target)
    left = target.with_name(".0123456789abcdef.partial")
    left.mkdir()
    (left / "stale.json").write_text("{")
    os.utime(left, (time.time() - STALE - 1,) * 2)
    assert "stale.json" not in load_model(str(path)).sha256
    assert leftovers(own_cache) == [target.name]


def test_a_gguf_file_that_lacks_a_weight_is_refused(tiny_folder: Path, tmp_path: Path, own_cache: Path) -> None:
    path = write_gguf(tiny_folder, tmp_path / "tiny.gguf", leave_out=UP)
    with pytest.raises(SDSError, match=r"lacks 1 of its weights, first model\.layers\.1\.mlp\.up_proj"):
        load_model(str(path))


def test_gguf_file_with_mismatched_shapes_is_refused(
    tiny_folder: Path, folder: Path, tmp_path: Path, own_cache: Path
) -> None:
    change_config(folder, hidden_size=64)
    with pytest.raises(SDSError, match=r"not a GGUF model that transformers can read: .*mismatched_sizes"):
        load_model(str(write_gguf(folder, tmp_path / "tiny.gguf")))


def test_gguf_names_with_dots_do_not_collide(tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf_import, "_dequantise", lambda path, folder: None)
    folders = set()
    for content in (b"GGUF one", b"GGUF two"):
        (tmp_path / "model-v0.1.gguf").write_bytes(content)
        folders.add(convert_gguf(tmp_path / "model-v0.1.gguf"))
    assert len(folders) == 2


def test_a_missing_gguf_file_is_named(tmp_path: Path, own_cache: Path) -> None:
    with pytest.raises(SDSError, match=r"there is no such GGUF file.*gone\.gguf"):
        find_model(str(tmp_path / "gone.gguf"))
    assert not own_cache.exists()


def test_a_disk_without_room_for_the_weights_is_noticed_before_converting(
    tiny_folder: Path, tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_gguf(tiny_folder, tmp_path / "tiny.gguf")
    size = sum(weight.nbytes for weight in load_file(tiny_folder / "model.safetensors").values())
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=size - 1))
    with pytest.raises(SDSError, match=r"\d+ MB are needed in .*models, 0 MB are free.*SDS_CACHE"):
        find_model(str(path))
    assert leftovers(own_cache) == []
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=size))
    assert find_model(str(path)).is_dir()


def test_a_part_of_a_split_gguf_file_is_to_be_merged(tiny_folder: Path, tmp_path: Path, own_cache: Path) -> None:
    path = write_gguf(tiny_folder, tmp_path / "tiny-00002-of-00003.gguf", leave_out=UP)
    merge = rf"llama-gguf-split --merge {tmp_path}/tiny-00001-of-00003\.gguf NEW\.gguf"
    with pytest.raises(SDSError, match=rf"is one of several files that hold a model together\. Merge them, .*{merge}"):
        find_model(str(path))
    assert find_model(str(write_gguf(tiny_folder, tmp_path / "tiny-00001-of-00001.gguf"))).is_dir()


def test_a_pointer_to_a_gguf_file_is_called_one(tmp_path: Path, own_cache: Path) -> None:
    (tmp_path / "tiny.gguf").write_bytes(POINTER + b"v1\noid sha256:0\nsize 9\n")
    with pytest.raises(SDSError, match=r"tiny\.gguf is a pointer to the file.*git lfs pull"):
        find_model(str(tmp_path / "tiny.gguf"))


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("blk.1.attn_q.bias", torch.ones(32)),
        ("blk.3.attn_norm.weight", torch.ones(32)),
        ("rope_freqs.weight", torch.full((4,), 8.0)),
    ],
    ids=["a bias", "another block", "scaled rotary frequencies"],
)
def test_unused_gguf_tensor_is_refused(
    tiny_folder: Path, tmp_path: Path, own_cache: Path, name: str, tensor: torch.Tensor
) -> None:
    path = write_gguf(tiny_folder, tmp_path / "tiny.gguf", extra={name: tensor})
    with pytest.raises(
        SDSError, match=rf"tiny\.gguf holds what is not part of the model: {name}\. Take .* in safetensors"
    ):
        load_model(str(path))
    assert leftovers(own_cache) == []


def test_unscaled_rotary_frequencies_of_a_gguf_file_are_harmless(
    tiny_folder: Path, tmp_path: Path, own_cache: Path
) -> None:
    load_model(str(write_gguf(tiny_folder, tmp_path / "tiny.gguf", extra={"rope_freqs.weight": torch.ones(4)})))
