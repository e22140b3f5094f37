"""Weights that files hold apart or joined rest on disk like others, exactly those that transformers loads."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from sds_core.errors import SDSError
from sds_core.models.load import load_model
from sds_core.models.stream import capture
from sds_core.models.structure import find_blocks
from sds_core.models.weight_store import stored_blocks
from tests.models.families import MIXTURES, ROUTED, VOCABULARY, build_any, plain_logits, randomised, texts
from tests.models.test_stream import CPU, replayed
from tests.models.test_weight_store import at_rest

APART = {
    "mixtral": ("model.layers.{}.block_sparse_moe.experts.{}.", ("w1", "w3", "w2")),
    "qwen3_moe": ("model.layers.{}.mlp.experts.{}.", ("gate_proj", "up_proj", "down_proj")),
}
"""How files of some families name a block's experts, and the parts of each."""


SPLIT = {**ROUTED, "num_experts": 4, "moe_intermediate_size": 24, "n_group": 1, "topk_group": 1}
"""A family whose files hold query, key and value joined, and experts apart."""
NAMES = (*MIXTURES, "sarvam_moe")


def built(name: str) -> PreTrainedModel:
    if name in MIXTURES:
        return build_any(name)
    return randomised(AutoModelForCausalLM.from_config(AutoConfig.for_model(name, vocab_size=VOCABULARY, **SPLIT)))


def stored(name: str, folder: Path, tokenizer: Path) -> Path:
    """A family's tiny model as a folder of several files, as `save_pretrained` writes it."""
    built(name).save_pretrained(folder, max_shard_size="10KB")
    for path in tokenizer.glob("tokenizer*"):
        shutil.copy(path, folder)
    return folder


def tensors_in(folder: Path) -> dict[str, torch.Tensor]:
    return {name: tensor for file in folder.glob("*.safetensors") for name, tensor in load_file(file).items()}


@pytest.mark.parametrize("dtype", ["auto", "bfloat16"])
@pytest.mark.parametrize("name", APART)
def test_experts_stored_apart_are_joined_on_demand(name: str, dtype: str, tmp_path: Path, tiny_folder: Path) -> None:
    folder = stored(name, tmp_path / "model", tiny_folder)
    source, (place, parts) = tensors_in(folder), APART[name]
    loaded = load_model(str(folder), dtype, "disk")
    for index, (block, parameters) in enumerate(stored_blocks(loaded.model)):
        with loaded.store.resident(block):
            experts = {key.rpartition(".")[2]: p for key, p in parameters.items() if ".experts." in key}
            assert experts.keys() == {"gate_up_proj", "down_proj"}
            for expert in range(len(experts["down_proj"])):
                gate, up, down = (source[f"{place.format(index, expert)}{part}.weight"] for part in parts)
                to = loaded.model.dtype
                assert torch.equal(experts["gate_up_proj"][expert], torch.cat([gate, up]).to(to))
                assert torch.equal(experts["down_proj"][expert], down.to(to))
    assert all(tensor.isnan().all() for tensor in at_rest(loaded).values())


@pytest.mark.parametrize("name", NAMES)
def test_a_mixture_on_disk_is_the_mixture_in_memory(name: str, tmp_path: Path, tiny_folder: Path) -> None:
    folder, windows = stored(name, tmp_path / "model", tiny_folder), texts()
    here, there = load_model(str(folder)), load_model(str(folder), weights="disk")
    buffers = dict(here.model.named_buffers())
    assert all(torch.equal(buffer, buffers[key]) for key, buffer in there.model.named_buffers())
    expected = here.model.state_dict()
    for block, parameters in stored_blocks(there.model):
        with there.store.resident(block):
            assert all(torch.equal(parameter, expected[key]) for key, parameter in parameters.items())
    mine, other = find_blocks(here.model), find_blocks(there.model, there.store)
    assert (mine.excluded, mine.prunable) == (other.excluded, other.prunable)
    assert torch.equal(replayed(capture(other, windows, CPU), windows), plain_logits(here.model, windows))


@pytest.mark.parametrize("name", NAMES)
def test_a_mixture_on_disk_is_saved_as_its_files_hold_it(name: str, tmp_path: Path, tiny_folder: Path) -> None:
    folder, out = stored(name, tmp_path / "model", tiny_folder), tmp_path / "out"
    out.mkdir()
    loaded = load_model(str(folder), weights="disk")
    loaded.store.save(loaded.model, out)
    source, found = tensors_in(folder), tensors_in(out)
    assert found.keys() == source.keys()
    assert set(found) == set(json.loads((out / "model.safetensors.index.json").read_text())["weight_map"])
    assert all(torch.equal(found[key], tensor) for key, tensor in source.items())


@pytest.mark.parametrize("change", ["missing", "other shape"])
def test_a_weight_that_cannot_be_joined_is_refused_by_name(change: str, tmp_path: Path, tiny_folder: Path) -> None:
    folder = tmp_path / "model"
    stored("mixtral", folder, tiny_folder)
    tensors = tensors_in(folder)
    for path in folder.glob("model*"):
        path.unlink()
    expert = "model.layers.1.block_sparse_moe.experts.2.w1.weight"
    whole = tensors.pop(expert)
    if change == "other shape":
        tensors[expert] = whole[:8].clone()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    message = r"not stored one by one as the model uses them, first model\.layers\.1\.mlp\.experts\.gate_up_proj"
    with pytest.raises(SDSError, match=rf"{message}.*--weights memory"):
        load_model(str(folder), weights="disk")


def test_an_expert_that_is_not_finite_is_named(tmp_path: Path, tiny_folder: Path) -> None:
    folder = stored("qwen3_moe", tmp_path / "model", tiny_folder)
    expert = "model.layers.0.mlp.experts.3.up_proj.weight"
    path = next(file for file in folder.glob("*.safetensors") if expert in load_file(file))
    tensors = load_file(path)
    tensors[expert][0, 0] = torch.inf
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(SDSError, match=f"weight {re.escape(expert)} .* has NaN or infinite values"):
        loaded = load_model(str(folder), weights="disk")
        find_blocks(loaded.model, loaded.store)
