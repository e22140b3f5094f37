"""Every tensor of a model's files is taken, known to be needless, or refused by name, in memory and on disk alike."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

from sds_core.errors import SDSError
from sds_core.models.load import load_model
from tests.models.families import build, plain_logits, randomised, texts
from tests.models.folders import UP, change_config, change_weights

Tensors = dict[str, torch.Tensor]
QUERY = "model.layers.0.self_attn.q_proj"
EVERYWHERE = pytest.mark.parametrize("weights", ["memory", "disk"])


def float8(tensors: Tensors, scales: tuple[str, ...] = ("weight_scale", "input_scale")) -> None:
    """Store the linears in 8 bits, each with scalar scales."""
    for name in [name for name in tensors if name.endswith("_proj.weight")]:
        scale = tensors[name].abs().max() / 448
        tensors[name] = (tensors[name] / scale).to(torch.float8_e4m3fn)
        tensors |= {name.removesuffix("weight") + end: scale.clone() for end in scales}


def adapter(tensors: Tensors) -> None:
    tensors |= {f"{QUERY}.lora_A.weight": torch.ones(2, 32), f"{QUERY}.lora_B.weight": torch.ones(32, 2)}


def four_bits(tensors: Tensors) -> None:
    """As bitsandbytes stores a layer."""
    tensors |= {f"{QUERY}.weight": torch.zeros(512, 1, dtype=torch.uint8), f"{QUERY}.weight.absmax": torch.ones(16)}


def packed(tensors: Tensors) -> None:
    """As GPTQ stores a layer."""
    del tensors[f"{QUERY}.weight"]
    tensors |= {f"{QUERY}.qweight": torch.zeros(4, 32, dtype=torch.int32), f"{QUERY}.scales": torch.ones(1, 32)}


def cast(dtype: torch.dtype) -> Callable[[Tensors], None]:
    return lambda tensors: tensors.update({UP: tensors[UP].mul(100).to(dtype)})


SPOILED: dict[str, tuple[Callable[[Tensors], object], dict, str]] = {
    "scaled float8": (
        float8,
        {},
        r"quantised: .*down_proj\.input_scale, .* and \d+ more\. Take the model",
    ),
    "float8 without scales": (cast(torch.float8_e4m3fn), {}, f"are quantised: {UP}"),
    "int8 without scales": (cast(torch.int8), {}, f"are quantised: {UP}"),
    "four bits": (four_bits, {}, r"are quantised: .*q_proj\.weight\.absmax"),
    "packed": (packed, {}, r"are quantised: .*q_proj\.qweight"),
    "half-quadratic": (
        lambda t: t.update({f"{QUERY}.W_q": torch.zeros(4, 32, dtype=torch.uint8)}),
        {},
        r"are quantised: .*q_proj\.W_q",
    ),
    "integers of another shape": (
        lambda t: t.update({UP: torch.zeros(4, 48, dtype=torch.int32)}),
        {},
        f"are quantised: {UP}",
    ),
    "transposed": (lambda t: t.update({UP: t[UP].T.contiguous()}), {}, rf"{UP} .* has shape \(32, 48\)"),
    "more tokens": (
        lambda t: t.update({"lm_head.weight": torch.ones(320, 32)}),
        {},
        r"lm_head\.weight .* has shape \(320, 32\)",
    ),
    "an adapter around a layer": (
        lambda t: (t.update({f"{QUERY}.base_layer.weight": t.pop(f"{QUERY}.weight")}), adapter(t)),
        {},
        r"not part of the model: .*base_layer.*\. Merge the",
    ),
    "unfinished pruning": (
        lambda t: t.update({f"{UP}_orig": t.pop(UP), f"{UP}_mask": torch.ones(48, 32)}),
        {},
        r"up_proj\.weight_mask, .*\. Make the pruning permanent",
    ),
    "a compiled model": (
        lambda t: [t.update({f"_orig_mod.{name}": t.pop(name)}) for name in list(t)],
        {},
        r"_orig_mod\.lm_head\.weight, .*\. Save the model that is inside the wrapper",
    ),
    "a second name": (
        lambda t: t.update({UP.removeprefix("model."): t[UP] + 1}),
        {},
        rf"two unequal tensors for one weight: layers\.\S+ and {UP}",
    ),
    "an adapter": (
        adapter,
        {},
        r"not part of the model: .*q_proj\.lora_A\.weight, .*\. Merge the",
    ),
    "more blocks": (
        lambda _: None,
        {"num_hidden_layers": 2},
        r"not part .*: model\.layers\.2\..* and 6 more\. Correct",
    ),
    "a bias": (
        lambda t: t.update({f"{QUERY}.bias": torch.ones(32)}),
        {},
        rf"not part of the model: {QUERY}\.bias",
    ),
    "a norm": (
        lambda t: t.update({"model.extra_norm.weight": torch.ones(32)}),
        {},
        r"model\.extra_norm\.weight",
    ),
    "a head": (lambda t: t.update({"score.weight": torch.ones(2, 32)}), {}, r"not part of the model: score\.weight"),
}


@EVERYWHERE
@pytest.mark.parametrize("fault", SPOILED)
def test_tensor_without_a_place_is_refused_by_name(folder: Path, fault: str, weights: str) -> None:
    change, fields, message = SPOILED[fault]
    change_weights(folder, change)
    change_config(folder, **fields)
    with pytest.raises(SDSError, match=message):
        load_model(str(folder), weights=weights)


@EVERYWHERE
def test_biases_that_the_configuration_denies_are_refused(tmp_path: Path, tiny_folder: Path, weights: str) -> None:
    folder = saved(build("llama", attention_bias=True), tmp_path / "model", tiny_folder)
    change_config(folder, attention_bias=False)
    with pytest.raises(SDSError, match=r"not part of the model: model\.layers\.0\.self_attn\.k_proj\.bias"):
        load_model(str(folder), weights=weights)


def saved(model, folder: Path, tokenizer: Path) -> Path:
    model.save_pretrained(folder)
    for path in tokenizer.glob("tokenizer*"):
        shutil.copy(path, folder)
    return folder


MASKED = {
    "gpt2": "transformer.h.1.attn.",
    "gptj": "transformer.h.1.attn.",
    "gpt_neo": "transformer.h.1.attn.attention.",
    "gpt_neox": "gpt_neox.layers.1.attention.",
}


@EVERYWHERE
@pytest.mark.parametrize("name", MASKED)
def test_stored_causal_masks_are_harmless(name: str, weights: str, tmp_path: Path, tiny_folder: Path) -> None:
    model = build(name)
    folder = saved(model, tmp_path / "model", tiny_folder)
    mask = torch.ones(64, 64, dtype=torch.bool).tril()[None, None]
    masks = {f"{MASKED[name]}bias": mask, f"{MASKED[name]}masked_bias": torch.tensor(-torch.inf)}
    change_weights(folder, lambda tensors: tensors.update(masks))
    loaded = load_model(str(folder), weights=weights)
    with loaded.store.loading_on_call():
        torch.testing.assert_close(plain_logits(loaded.model, texts()), plain_logits(model, texts()))


@EVERYWHERE
@pytest.mark.parametrize(
    "name", ["model.layers.0.self_attn.rotary_emb.inv_freq", "model.rotary_emb.inv_freq", "model.position_ids"]
)
def test_stored_copies_of_computed_tensors_are_harmless(folder: Path, name: str, weights: str) -> None:
    change_weights(folder, lambda tensors: tensors.update({name: torch.ones(4)}))
    load_model(str(folder), weights=weights)


@EVERYWHERE
def test_tied_head_stored_beside_the_embedding_is_harmless(folder: Path, weights: str) -> None:
    change_config(folder, tie_word_embeddings=True)
    change_weights(folder, lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"].clone()}))
    model = load_model(str(folder), weights=weights).model
    assert model.lm_head.weight is model.get_input_embeddings().weight and model.config.tie_word_embeddings


@EVERYWHERE
def test_head_unlike_the_embedding_is_used_although_called_tied(folder: Path, weights: str) -> None:
    change_config(folder, tie_word_embeddings=True)
    model = load_model(str(folder), weights=weights).model
    stored = load_file(folder / "model.safetensors")
    assert torch.equal(model.lm_head.weight, stored["lm_head.weight"])
    assert torch.equal(model.get_input_embeddings().weight, stored["model.embed_tokens.weight"])
    assert not model.config.tie_word_embeddings


def test_experts_beyond_the_configuration_are_refused(tmp_path: Path, tiny_folder: Path) -> None:
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = AutoConfig.for_model("mixtral", vocab_size=288, num_key_value_heads=2, num_local_experts=4, **sizes)
    folder = saved(randomised(AutoModelForCausalLM.from_config(config)), tmp_path / "model", tiny_folder)
    load_model(str(folder))
    change_config(folder, num_local_experts=2)
    with pytest.raises(SDSError, match=r"has shape \(4, .* asks for \(2, "):
        load_model(str(folder))


def in_two_files(folder: Path, **index: object) -> list[Path]:
    """Store a folder's weights in two files of half of the tensors each; return them."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    halves = [dict(list(tensors.items())[i::2]) for i in range(2)]
    paths = [folder / f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    for half, path in zip(halves, paths, strict=True):
        save_file(half, path, metadata={"format": "pt"})
    places = {name: path.name for half, path in zip(halves, paths, strict=True) for name in half}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places} | index))
    return paths


@EVERYWHERE
def test_unequal_tensors_of_one_name_are_refused(folder: Path, weights: str) -> None:
    first, second = in_two_files(folder)
    name, tensor = next(iter(load_file(first).items()))
    save_file(load_file(second) | {name: tensor}, second, metadata={"format": "pt"})
    load_model(str(folder), weights=weights)
    save_file(load_file(second) | {name: tensor + 1}, second, metadata={"format": "pt"})
    with pytest.raises(SDSError, match=f"hold unequal tensors of one name: {name}"):
        load_model(str(folder), weights=weights)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ({"weight_map": {"a": 1}}, "is gone"),
        ({"weight_map": {}}, "names no files"),
        ({"weight_map": None}, "is broken"),
        ({"weight_map": {"a": "x/y.safetensors"}}, "names files elsewhere"),
    ],
    ids=str,
)
def test_an_index_that_names_no_files_is_refused(folder: Path, index: dict, message: str) -> None:
    in_two_files(folder, **index)
    with pytest.raises(SDSError, match=message):
        load_model(str(folder))


def test_an_index_without_metadata_is_refused_with_the_cure(folder: Path) -> None:
    in_two_files(folder)
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": json.loads(path.read_text())["weight_map"]}))
    with pytest.raises(SDSError, match=r'no field \'metadata\'\. Add "metadata": \{\} to it'):
        load_model(str(folder))


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_pointer_of_git_lfs_is_no_file(folder: Path, name: str) -> None:
    (folder / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(SDSError, match=rf"{name} is a pointer .*git lfs pull"):
        load_model(str(folder))


@EVERYWHERE
def test_precision_is_that_of_the_first_weight(folder: Path, weights: str) -> None:
    change_config(folder, dtype=None)
    change_weights(folder, lambda t: t.update({"a.version": torch.ones(1, dtype=torch.int64)}))
    assert load_model(str(folder), weights=weights).model.dtype == torch.float32


@EVERYWHERE
def test_file_that_the_index_forgets_is_refused(folder: Path, weights: str) -> None:
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    save_file(tensors, folder / "model-00001-of-00002.safetensors", metadata={"format": "pt"})
    save_file({"model.extra": torch.ones(2)}, folder / "model-00002-of-00002.safetensors", metadata={"format": "pt"})
    index = dict.fromkeys(tensors, "model-00001-of-00002.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    with pytest.raises(SDSError, match=r"does not name model-00002-of-00002\.safetensors"):
        load_model(str(folder), weights=weights)
    (folder / "model-00002-of-00002.safetensors").rename(folder / "model-00002-of-00009.safetensors")
    load_model(str(folder), weights=weights)  # left over from an older save
