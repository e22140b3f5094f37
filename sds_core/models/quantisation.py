"""Quantised models: loaded where transformers restores every weight while loading, refused otherwise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sds_core.errors import SDSError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

RESTORED = ("fp8", "mxfp4")
"""Methods whose weights transformers turns into ordinary ones, scales applied, while it loads them."""
SIDE_FILES = {"hf_quant_config.json": "modelopt", "quantize_config.json": "gptq", "quant_config.json": "awq"}
"""Files beside `config.json` by which some tools mark a quantised model, and what they stand for."""
FIELDS = ("quantization_config", "compression_config")
"""Fields of a configuration that describe a quantisation."""
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
        values = _fields(getattr(config, "quantization_config", None))
        if not values:  # said of a part of the model alone
            raise _refusal(method, folder)
        config.quantization_config = values | {"dequantize": True}
        return True
    refuse(method, folder)
    vars(config).pop("quantization_config", None)  # an empty one, which transformers refuses
    return False


def refuse(method: str | None, folder: Path) -> None:
    """Refuse weights quantised by a method that cannot be undone.

    Raises:
        SDSError: `method` is one.
    """
    if method and method not in RESTORED:
        raise _refusal(method, folder)


def _refusal(method: str, folder: Path) -> SDSError:
    return SDSError(f"the weights in {folder} are quantised ({method})", cure=CURES.get(method, TAKE_ORIGINAL))


def _fields(settings: Any) -> dict[str, Any]:
    """Return the fields of settings of a quantisation; none where they are no table."""
    found = settings.to_dict() if hasattr(settings, "to_dict") else settings
    return found if isinstance(found, dict) else {}


def quantisation_method(config: PreTrainedConfig, folder: Path) -> str | None:
    """The method by which a model says that it is quantised; None for an ordinary model."""
    parts = (config, config.get_text_config())
    return method_in([{field: getattr(part, field, None) for field in FIELDS} for part in parts], folder)


def method_in(parts: Iterable[Mapping[str, Any]], folder: Path) -> str | None:
    """The same from the fields of `config.json`: those of the whole, and those of its text model."""
    for part in parts:
        for field in FIELDS:
            if settings := part.get(field):
                values = _fields(settings)
                bits = values.get("load_in_4bit") or values.get("load_in_8bit")
                return str(values.get("quant_method") or ("bitsandbytes" if bits else "unknown method"))
    return next((method for name, method in SIDE_FILES.items() if (folder / name).is_file()), None)
