"""Quantised models: loaded where transformers restores every weight while loading, refused otherwise."""

from pathlib import Path

from transformers import PreTrainedConfig

from sds_core.errors import SDSError

RESTORED = ("fp8", "mxfp4")
"""Methods whose weights transformers turns into ordinary ones, scales applied, while it loads them."""
SIDE_FILES = {"hf_quant_config.json": "modelopt", "quantize_config.json": "gptq", "quant_config.json": "awq"}
"""Files beside `config.json` by which some tools mark a quantised model, and what they stand for."""
CURES = {
    "bitsandbytes": "take the model that it was made from, or save it again after bitsandbytes' model.dequantize()",
    "compressed-tensors": "take the model that it was made from, or decompress it with the compressed-tensors package",
}
TAKE_ORIGINAL = "take the model that it was made from, with weights in bfloat16, float16 or float32"


def restore_or_refuse(config: PreTrainedConfig, folder: Path) -> bool:
    """Have transformers restore the weights of a quantised model while it loads them; return whether it is quantised.

    Args:
        config: the model's configuration; changed so that no quantised layers are built where a GPU could run them.
        folder: the model's folder.

    Raises:
        SDSError: the weights are quantised by a method that cannot be undone here.
    """
    method = quantisation_method(config, folder)
    if method in RESTORED:
        settings = config.quantization_config
        values = settings if isinstance(settings, dict) else settings.to_dict()
        config.quantization_config = values | {"dequantize": True}
        return True
    if method:
        raise SDSError(f"the weights in {folder} are quantised ({method})", cure=CURES.get(method, TAKE_ORIGINAL))
    vars(config).pop("quantization_config", None)  # an empty one, which transformers refuses
    return False


def quantisation_method(config: PreTrainedConfig, folder: Path) -> str | None:
    """The method by which a model says that it is quantised; None for an ordinary model."""
    for part in (config, config.get_text_config()):
        for field in ("quantization_config", "compression_config"):
            settings = getattr(part, field, None)
            if settings:
                values = settings if isinstance(settings, dict) else settings.to_dict()
                bits = values.get("load_in_4bit") or values.get("load_in_8bit")
                return str(values.get("quant_method") or ("bitsandbytes" if bits else "unknown method"))
    return next((method for name, method in SIDE_FILES.items() if (folder / name).is_file()), None)
