"""A model is loaded whole or refused in a sentence; nothing is filled in, executed or asked for on the terminal."""

import hashlib
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

from sds_core.errors import SDSError
from sds_core.models import load, memory
from sds_core.models.cache import file_sha256
from sds_core.models.calibration import tokenize
from sds_core.models.check_model import check_local
from sds_core.models.load import load_model
from tests.models.families import LLAMA, build, randomised
from tests.models.folders import UP, change_config, change_weights


def test_folder_loads_with_its_weights_in_evaluation_mode(tiny_folder: Path) -> None:
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


def test_a_missing_weight_is_refused_by_name(folder: Path) -> None:
    change_weights(folder, lambda weights: weights.pop(UP))
    with pytest.raises(SDSError, match=rf"lacks 1 of its weights, first {UP}\. .*nothing is filled in"):
        load_model(str(folder))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weight_that_is_not_finite_is_named(folder: Path, value: float) -> None:
    change_weights(folder, lambda weights: weights[UP][3].fill_(value))
    with pytest.raises(SDSError, match=f"weight {UP} .* has NaN or infinite values"):
        load_model(str(folder))


def test_weights_in_a_pickle_are_refused_unread(folder: Path) -> None:
    class Trap:
        def __reduce__(self):
            return Path(folder / "executed").touch, ()

    torch.save({"weight": Trap()}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(SDSError, match=r"neither model\.safetensors nor .*sds_core convert"):
        load_model(str(folder))
    assert not (folder / "executed").exists()


def test_code_in_a_model_folder_is_not_executed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "code.py").write_text(f"open({str(folder / 'executed')!r}, 'w')\nclass Config: pass\nclass Model: pass\n")
    change_config(
        folder, model_type="own", auto_map={"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model"}
    )
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("a question on standard input"))
    with pytest.raises(SDSError, match="contains custom code"):
        load_model(str(folder))
    assert not (folder / "executed").exists()


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


@pytest.mark.parametrize("name", ["notes.txt", "trainer_state.json", "LICENSE.txt", "tokenizer notes.txt"])
def test_what_lies_beside_a_model_does_not_change_its_fingerprint(folder: Path, name: str) -> None:
    before = load_model(str(folder)).fingerprint
    (folder / name).write_text("{}")
    assert load_model(str(folder)).fingerprint == before


@pytest.mark.parametrize("name", ["merges.txt", "tokenizer.model", "chat_template.jinja", "a.tiktoken"])
def test_the_fingerprint_covers_tokenizer_files_of_every_kind(folder: Path, name: str) -> None:
    (folder / name).write_text("#version: 0.2\n")
    assert name in load_model(str(folder)).sha256


@pytest.mark.parametrize("weights", ["memory", "disk"])
@pytest.mark.parametrize("named", ["other.safetensors", "model.safetensors.index.json", "model.safetensors"])
def test_a_configuration_may_not_name_weights_that_are_not_the_checked_ones(
    folder: Path, named: str, weights: str
) -> None:
    change_config(folder, transformers_weights=named)
    shutil.copy(folder / "model.safetensors", folder / "other.safetensors")
    (folder / "model.safetensors.index.json").write_text('{"metadata": {}, "weight_map": {"a": "other.safetensors"}}')
    if named == "model.safetensors":
        assert "model.safetensors" in load_model(str(folder), weights=weights).sha256
    else:
        for check in (lambda: load_model(str(folder), weights=weights), lambda: check_local(str(folder))):
            with pytest.raises(
                SDSError, match=f"transformers_weights: got '{named}'; allowed: model.safetensors. Load"
            ):
                check()


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
def test_spoiled_folder_is_refused(folder: Path, fault: str) -> None:
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
def test_hostile_configuration_is_refused_by_field(folder: Path, changes: dict, said: str) -> None:
    change_config(folder, **changes)
    with pytest.raises(SDSError, match=rf"^bad configuration in {folder}: .*{said}"):
        load_model(str(folder))


@pytest.mark.parametrize(
    "changes", [{"vocab_size": 10**12}, {"intermediate_size": 10**12}, {"num_hidden_layers": 10**9}]
)
def test_model_larger_than_memory_is_refused_unread(
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
    monkeypatch.setattr(memory, "free_memory", lambda: needed)
    load_model(str(folder))
    monkeypatch.setattr(memory, "free_memory", lambda: needed - 1)
    with pytest.raises(SDSError, match="of memory"):
        load_model(str(folder))


@pytest.mark.parametrize("weights", ["auto", "memory", "disk"])
def test_a_configuration_without_precision_leaves_it_to_the_files(
    folder: Path, monkeypatch: pytest.MonkeyPatch, weights: str
) -> None:
    change_weights(folder, lambda tensors: tensors.update({k: v.to(torch.bfloat16) for k, v in tensors.items()}))
    change_config(folder, dtype=None)
    needed = sum(value.nbytes for value in load_file(folder / "model.safetensors").values())
    monkeypatch.setattr(memory, "free_memory", lambda: needed)
    loaded = load_model(str(folder), weights=weights)
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {torch.bfloat16}


def test_tied_embeddings_are_loaded_and_counted_once(folder: Path) -> None:
    change_config(folder, tie_word_embeddings=True)
    change_weights(folder, lambda weights: weights.pop("lm_head.weight"))
    model = load_model(str(folder)).model
    assert model.lm_head.weight is model.get_input_embeddings().weight
    stored = load_file(folder / "model.safetensors")
    assert sum(p.numel() for p in model.parameters()) == sum(value.numel() for value in stored.values())


@pytest.mark.parametrize("weights", ["memory", "disk"])
@pytest.mark.parametrize("name", ["mistral", "qwen2", "gemma3_text"])
def test_zero_negative_or_null_sliding_window_is_no_limit(
    name: str, weights: str, tiny_folder: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_folder, tmp_path / name)
    build(name, vocab_size=288).save_pretrained(folder)
    logits = {}
    for window in (64, 8, 0, -1, None):
        change_config(folder, sliding_window=window)
        loaded = load_model(str(folder), weights=weights)
        with torch.inference_mode(), loaded.store.loading_on_call():
            logits[window] = loaded.model(torch.arange(20)[None], use_cache=False).logits
    assert all(torch.allclose(logits[window], logits[64], atol=1e-5) for window in (0, -1, None))
    assert not torch.allclose(logits[64], logits[8], atol=1e-2)


def test_qwen2_moe_without_a_sliding_window_is_loaded(tiny_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    experts = {"num_experts": 4, "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16}
    config = AutoConfig.for_model("qwen2_moe", **LLAMA, **experts, vocab_size=288)
    model = randomised(AutoModelForCausalLM.from_config(config))
    model.save_pretrained(folder)
    assert config.sliding_window == 0
    loaded = load_model(str(folder)).model
    tokens = torch.arange(20)[None]
    with torch.inference_mode():
        assert torch.equal(loaded(tokens, use_cache=False).logits, model(tokens, use_cache=False).logits)


def test_stored_buffers_of_blocks_are_read_from_disk(tiny_folder: Path, tmp_path: Path) -> None:
    """The activation of Apertus has constants that are no parameters; they are changed, to tell them from defaults."""
    folder = shutil.copytree(tiny_folder, tmp_path / "apertus")
    settings = AutoConfig.for_model("apertus", **LLAMA, vocab_size=288)
    model = randomised(AutoModelForCausalLM.from_config(settings, dtype=torch.float32))
    buffers = {name: buffer for name, buffer in model.named_buffers() if name.endswith("act_fn.beta")}
    for buffer in buffers.values():
        buffer.fill_(0.75)
    model.save_pretrained(folder)
    loaded = load_model(str(folder), weights="disk")
    tokens = torch.arange(20)[None]
    with torch.inference_mode(), loaded.store.loading_on_call():
        assert torch.equal(loaded.model(tokens, use_cache=False).logits, model(tokens, use_cache=False).logits)
    assert len(buffers) == 3


def test_a_configuration_does_not_choose_the_code_of_attention(folder: Path) -> None:
    change_config(folder, attn_implementation="somebody/kernels", _attn_implementation="somebody/kernels")
    change_config(folder, experts_implementation="somebody/kernels")
    config = load_model(str(folder)).model.config
    assert config._attn_implementation in ("sdpa", "eager")
    assert "somebody" not in str(vars(config))


class PanicException(BaseException):
    """As libraries written in Rust panic: not an `Exception`."""


def test_panic_of_the_tokenizer_is_reported(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def panic(*_: object, **__: object) -> None:
        raise PanicException("index out of bounds")

    loaded = load_model(str(tiny_folder))
    monkeypatch.setattr(type(loaded.tokenizer), "__call__", panic)
    with pytest.raises(SDSError, match=r"the tokenizer of .* fails: index out of bounds"):
        tokenize(loaded, "a")
    monkeypatch.setattr(load.AutoTokenizer, "from_pretrained", panic)
    with pytest.raises(SDSError, match=r"no tokenizer that can be loaded: index out of bounds"):
        load_model(str(tiny_folder))


def test_running_out_of_memory_while_loading_is_reported(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4294967296 bytes.")

    monkeypatch.setattr(load.AutoModelForCausalLM, "from_pretrained", fail)
    with pytest.raises(SDSError, match=r"memory ran out: 4,096 MB more were needed at once"):
        load_model(str(folder))


def test_configuration_nested_without_end_is_reported(folder: Path) -> None:
    (folder / "config.json").write_text("[" * 100_000)
    with pytest.raises(SDSError, match="bad configuration"):
        load_model(str(folder))
