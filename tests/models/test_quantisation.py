"""Quantised models are restored exactly or refused by method, whatever packages are installed."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from sds_core.errors import SDSError
from sds_core.models.load import load_model
from sds_core.models.structure import find_blocks
from tests.models.folders import UP, change_config, change_weights

FP8 = {"quant_method": "fp8", "weight_block_size": [16, 16], "activation_scheme": "dynamic"}


@pytest.mark.parametrize("weights", ["memory", "disk"])
@pytest.mark.parametrize(
    ("settings", "method"),
    [
        ({"quant_method": "modelopt", "quant_algo": "FP8"}, "modelopt"),
        ({"quant_method": "gptq", "bits": 4}, "gptq"),
        ({"quant_method": "awq", "bits": 4}, "awq"),
        ({"load_in_4bit": True}, "bitsandbytes"),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "bitsandbytes"),
        ({"quant_method": "compressed-tensors", "format": "pack-quantized"}, "compressed-tensors"),
        ({"quant_method": "never-heard-of"}, "never-heard-of"),
    ],
    ids=str,
)
def test_quantised_model_is_refused_by_method(folder: Path, settings: dict, method: str, weights: str) -> None:
    change_config(folder, quantization_config=settings)
    with pytest.raises(SDSError, match=rf"the weights in {folder} are quantised \({method}\)\. Take the "):
        load_model(str(folder), weights=weights)


@pytest.mark.parametrize("name", ["hf_quant_config.json", "quantize_config.json", "quant_config.json"])
def test_quantisation_file_beside_the_configuration_is_heeded(folder: Path, name: str) -> None:
    (folder / name).write_text("{}")
    with pytest.raises(SDSError, match="are quantised"):
        load_model(str(folder))


def test_empty_quantisation_settings_mean_none(folder: Path) -> None:
    change_config(folder, quantization_config={})
    load_model(str(folder))


def blockwise(tensors: dict[str, torch.Tensor]) -> None:
    """Store the linears in 8 bits with a scale for each 16×16 weights."""
    generator = torch.Generator().manual_seed(0)
    for name in [name for name in tensors if name.endswith("_proj.weight")]:
        scales = torch.rand([size // 16 for size in tensors[name].shape], generator=generator) + 0.5
        tensors[name] = tensors[name].mul(100).to(torch.float8_e4m3fn)
        tensors[f"{name}_scale_inv"] = scales


def test_block_scaled_float8_is_restored_exactly(folder: Path, tmp_path: Path) -> None:
    change_weights(folder, blockwise)
    change_config(folder, quantization_config=FP8)
    stored = load_file(folder / "model.safetensors")
    scales = stored[f"{UP}_scale_inv"].repeat_interleave(16, 0).repeat_interleave(16, 1)
    loaded = load_model(str(folder))
    assert torch.equal(loaded.model.get_parameter(UP), stored[UP].float() * scales)
    assert len(find_blocks(loaded.model).blocks[0].linears) == 7
    loaded.model.save_pretrained(tmp_path / "again")
    assert "quantization_config" not in json.loads((tmp_path / "again" / "config.json").read_text())


def test_float8_weight_without_its_scale_is_refused(folder: Path) -> None:
    change_weights(folder, blockwise)
    change_weights(folder, lambda tensors: tensors.pop(f"{UP}_scale_inv"))
    change_config(folder, quantization_config=FP8)
    with pytest.raises(SDSError, match=f"are quantised: {UP}\\."):
        load_model(str(folder))


def test_scales_under_other_names_are_refused(folder: Path) -> None:
    change_weights(folder, blockwise)
    change_weights(folder, lambda tensors: tensors.update({f"{UP}_scale_2": tensors.pop(f"{UP}_scale_inv")}))
    change_config(folder, quantization_config=FP8)
    with pytest.raises(SDSError, match=f"{UP}_scale_2"):
        load_model(str(folder))


def test_restored_model_does_not_rest_on_disk(folder: Path) -> None:
    change_weights(folder, blockwise)
    change_config(folder, quantization_config=FP8)
    with pytest.raises(SDSError, match=r"not stored one by one .*--weights memory"):
        load_model(str(folder), weights="disk")


@pytest.mark.parametrize("said", ["int8", ["fp8"], 8])
def test_a_quantisation_that_is_no_table_is_refused(folder: Path, said: object) -> None:
    change_config(folder, quantization_config=said)
    with pytest.raises(SDSError, match=r"unknown method|bad configuration"):
        load_model(str(folder))


def test_float8_that_is_said_elsewhere_is_refused(folder: Path) -> None:
    change_weights(folder, blockwise)
    change_config(folder, compression_config=FP8)
    with pytest.raises(SDSError, match=r"are quantised \(fp8\)"):
        load_model(str(folder))
