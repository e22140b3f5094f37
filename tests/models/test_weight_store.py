"""A model whose blocks rest on disk is the very same model: loaded, dissected, replayed, changed and put back."""

import errno
import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from sds_core.errors import SDSError
from sds_core.models import memory
from sds_core.models.hidden_states import HiddenStateFile
from sds_core.models.load import LoadedModel, load_model
from sds_core.models.logits import logits
from sds_core.models.stream import capture
from sds_core.models.structure import find_blocks
from sds_core.models.weight_store import WeightStore, stored_blocks
from tests.models.families import FAMILIES, build, plain_logits, texts

CPU = torch.device("cpu")
UP = "model.layers.1.mlp.up_proj.weight"


def stored(name: str, folder: Path, tokenizer: Path, **changes: object) -> Path:
    """A family's tiny model as a folder of several files."""
    build(name, **changes).save_pretrained(folder, max_shard_size="10KB")
    for path in tokenizer.glob("tokenizer*"):
        shutil.copy(path, folder)
    return folder


def at_rest(loaded: LoadedModel) -> dict[str, torch.Tensor]:
    return {name: p.data for _, parameters in stored_blocks(loaded.model) for name, p in parameters.items()}


@pytest.mark.parametrize("name", FAMILIES)
def test_a_model_on_disk_is_the_model_in_memory(name: str, tmp_path: Path, tiny_folder: Path) -> None:
    folder = stored(name, tmp_path / "model", tiny_folder)
    windows = texts()
    here, there = load_model(str(folder)), load_model(str(folder), weights="disk")
    assert (here.store.kind, there.store.kind) == ("memory", "disk")
    assert here.sha256 == there.sha256
    buffers = dict(here.model.named_buffers())
    assert buffers.keys() == dict(there.model.named_buffers()).keys()
    assert all(torch.equal(buffer, buffers[key]) for key, buffer in there.model.named_buffers())
    resting = at_rest(there)
    assert all(tensor.isnan().all() and tensor.untyped_storage().nbytes() <= 8 for tensor in resting.values())
    mine, other = find_blocks(here.model), find_blocks(there.model, there.store)
    assert [[vars(x) | {"module": 0} for x in b.linears] for b in mine.blocks] == [
        [vars(x) | {"module": 0} for x in b.linears] for b in other.blocks
    ]
    assert (mine.slot, mine.excluded, mine.total, mine.prunable) == (
        other.slot,
        other.excluded,
        other.total,
        other.prunable,
    )
    stream = capture(other, windows, CPU)
    for _ in other.blocks:
        stream.advance()
    assert isinstance(stream.hidden, HiddenStateFile)
    assert torch.equal(torch.stack(list(logits(stream, windows))), plain_logits(here.model, windows))
    assert all(tensor.isnan().all() for tensor in at_rest(there).values())


def spoil(folder: Path, name: str, value: torch.Tensor | None) -> None:
    weights = load_file(folder / "model.safetensors")
    if value is None:
        del weights[name]
    else:
        weights[name] = value
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("dtype", ["bfloat16", "auto"])
def test_resident_block_has_the_models_precision(tiny_folder: Path, dtype: str) -> None:
    expected = load_model(str(tiny_folder), dtype).model.state_dict()
    loaded = load_model(str(tiny_folder), dtype, "disk")
    for block, parameters in stored_blocks(loaded.model):
        with loaded.store.resident(block), loaded.store.resident(block):
            for name, parameter in parameters.items():
                assert parameter.dtype == expected[name].dtype
                assert torch.equal(parameter, expected[name])
    assert all(tensor.isnan().all() for tensor in at_rest(loaded).values())


def test_changes_are_reapplied_until_restored(tiny_folder: Path) -> None:
    loaded = load_model(str(tiny_folder), weights="disk")
    block, parameters = stored_blocks(loaded.model)[1]
    dense = load_file(tiny_folder / "model.safetensors")[UP]

    def double() -> None:
        parameters[UP].data.mul_(2)

    def seen() -> torch.Tensor:
        with loaded.store.resident(block):
            return parameters[UP].data.clone()

    with loaded.store.resident(block):
        double()
        loaded.store.reapply_on_load(block, double)
    assert torch.equal(seen(), 2 * dense) and torch.equal(seen(), 2 * dense)
    loaded.store.restore_dense()
    assert torch.equal(seen(), dense)
    loaded.store.change(block, double)
    assert torch.equal(seen(), 2 * dense)
    with pytest.raises(ZeroDivisionError), loaded.store.resident(block):
        raise ZeroDivisionError
    assert torch.equal(seen(), 2 * dense) and at_rest(loaded)[UP].isnan().all()


def test_memory_store_restores_kept_weights(tiny_folder: Path) -> None:
    model = load_model(str(tiny_folder)).model
    weight, store = model.get_parameter(UP), WeightStore()
    dense = weight.data.clone()
    store.keep_dense([weight])
    store.change(model.get_submodule("model.layers.1"), lambda: weight.data.zero_())
    assert not weight.any()
    store.restore_dense()
    assert torch.equal(weight, dense)


def test_incomplete_block_cannot_rest_on_disk(folder: Path) -> None:
    spoil(folder, UP, None)
    with pytest.raises(SDSError, match=rf"not stored one by one as the model uses them, first {UP}.*--weights memory"):
        load_model(str(folder), weights="disk")


def test_missing_non_block_weight_is_named_on_disk(folder: Path) -> None:
    spoil(folder, "model.norm.weight", None)
    with pytest.raises(SDSError, match=r"lacks 1 of its weights, first model\.norm\.weight"):
        load_model(str(folder), weights="disk")


@pytest.mark.parametrize("name", [UP, "lm_head.weight"])
def test_weight_that_is_not_finite_is_named_on_disk(folder: Path, name: str) -> None:
    spoil(folder, name, torch.full_like(load_file(folder / "model.safetensors")[name], torch.inf))
    with pytest.raises(SDSError, match=f"weight {name} .* has NaN or infinite values"):
        loaded = load_model(str(folder), weights="disk")
        find_blocks(loaded.model, loaded.store)


def test_changed_weight_files_are_noticed(folder: Path) -> None:
    loaded = load_model(str(folder), weights="disk")
    spoil(folder, UP, torch.zeros(48, 32))
    with pytest.raises(SDSError, match=r"model\.safetensors changed while the model was in use"):
        find_blocks(loaded.model, loaded.store)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in loaded.model.modules())


def test_an_index_that_names_files_elsewhere_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder.parent / "model.safetensors")
    index = {"weight_map": {UP: "../model.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(SDSError, match="names files elsewhere"):
        load_model(str(folder), weights="disk")


def test_auto_uses_disk_without_room_for_work(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = load_file(tiny_folder / "model.safetensors")
    whole = sum(tensor.nbytes for tensor in weights.values())
    first = [tensor for name, tensor in weights.items() if ".layers.0." in name]
    block, work = sum(tensor.nbytes for tensor in first), memory.WORK * sum(tensor.numel() for tensor in first)

    def kind(available: int, copies: int = 1) -> str:
        monkeypatch.setattr(memory, "free_memory", lambda: available)
        return load_model(str(tiny_folder), weights="auto", copies=copies).store.kind

    assert kind(whole + work) == "memory"
    assert kind(whole + work - 1) == "disk"
    assert kind(whole + work, copies=2) == "disk"
    assert kind(whole - 2 * block) == "disk"  # non-block weights and one of three blocks
    with pytest.raises(SDSError, match="even with the weights of its blocks on disk"):
        kind(whole - 2 * block - 1)


def test_a_list_on_disk_is_a_list(tmp_path: Path) -> None:
    tensors = list(torch.randn(3, 1, 4, 5).to(torch.bfloat16))
    listed = HiddenStateFile(tmp_path)
    for tensor in tensors[:2]:
        listed.append(tensor)
    listed.append(tensors[2].transpose(1, 2).contiguous().transpose(1, 2))
    assert len(listed) == 3 and all(map(torch.equal, listed, tensors))
    listed[1] = tensors[0]
    assert torch.equal(listed[1], tensors[0]) and torch.equal(listed[2], tensors[2])
    listed[0] = tensors[0].float() + 1e-3  # a block may turn to another precision
    assert torch.equal(listed[0], tensors[0].float() + 1e-3) and torch.equal(listed[1], tensors[0])
    with pytest.raises(IndexError):
        listed[3]
    listed.append(torch.ones(3, 7))  # of another shape, as a last batch of windows
    assert torch.equal(listed[3], torch.ones(3, 7)) and torch.equal(listed[2], tensors[2])
    assert list(tmp_path.iterdir()) == [], "the file has no name that could be left behind"


def test_a_disk_that_takes_only_a_part_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, room = os.pwrite, 50

    def filling_up(file: int, data: memoryview, place: int) -> int:
        if place >= room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(file, data[: min(16, room - place)], place)

    monkeypatch.setattr(os, "pwrite", filling_up)
    listed, tensor = HiddenStateFile(tmp_path), torch.randn(1, 2, 5)
    listed.append(tensor)
    assert torch.equal(listed[0], tensor)
    with pytest.raises(SDSError, match=r"hidden states cannot be written to disk: No space left.*Free some space"):
        listed.append(tensor)
