"""Compare a loaded model with its files: no weight may be filled in, and no tensor silently dropped."""

import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from sds_core.errors import SDSError
from sds_core.models.quantisation import TAKE_ORIGINAL
from sds_core.models.weight_files import WeightFiles, refuse_not_finite

SAVE_AGAIN = "download or save it again; nothing is filled in"
SHOWN = 3
"""Number of tensor names that a message lists."""
PLAIN_DTYPES = ("BF16", "F16", "F32", "F64")
"""How safetensors names the precisions of weights that are not quantised."""
QUANTISED = re.compile(
    r"(scales?|scale_\d|scale_inv|W_q|zero_points?|zeros|qweight|g_idx|absmax|quant_map|quant_state\.\S+|SCB|weight_format|"
    r"weight_packed|weight_shape|blocks)$"
)
"""Ends of tensor names that only quantised models have."""
FOREIGN = {
    r"(^|\.)lora_|^base_model\.|\.base_layer\.": "merge the adapter into the model's weights and save it again",
    r"\.(weight|bias)_(orig|mask)$": "make the pruning permanent (torch.nn.utils.prune.remove) and save again",
    r"^module\.|(^|\.)_(orig_mod|fsdp_wrapped_module|forward_module)\.": "save the model that is inside the wrapper: "
    "torch.compile and distributed training put such names in front",
}
"""Names that tell how a model was saved, and what to do about it."""
LEFTOVER = re.compile(r"rotary_emb\.(inv_freq|cos_cached|sin_cached)$|(^|\.)(position_ids|version)$")
"""Tensors that older versions of transformers stored and models now compute."""
CAUSAL_MASK = re.compile(r"(^|\.)(attn|attention)\.(masked_)?bias$")
"""Names of stored causal masks (4-D) and of the scalar that replaces masked scores; a layer's bias is 1-D."""


def is_leftover(name: str, shape: tuple[int, ...]) -> bool:
    """Whether no model needs a stored tensor."""
    return bool(LEFTOVER.search(name) or (len(shape) in (0, 4) and CAUSAL_MASK.search(name)))


def refuse_differences(report: Mapping[str, Any], model: PreTrainedModel, files: WeightFiles, restored: bool) -> None:
    """Refuse a model with weights that are not in its files, or files with tensors that the model did not use.

    Tensors that transformers knows to be dispensable, such as multi-token prediction layers, are allowed.

    Args:
        report: as `from_pretrained(output_loading_info=True)` returns it.
        model: the loaded model.
        files: what it was loaded from.
        restored: whether transformers restored quantised weights while loading.

    Raises:
        SDSError: weights are missing, of another shape, quantised, or left over; they are named.
    """
    unused = [name for name in sorted(report["unexpected_keys"]) if not _is_harmless(name, model, files)]
    low = _low_precision(model, files)
    if restored:
        low = [name for name in low if not _has_scale(name, files)]
    refuse_quantised([*filter(QUANTISED.search, unused), *low], files.folder)
    refuse_foreign(unused, files.folder)
    refuse_incomplete(report, files.folder)
    refuse_unused(unused, files.folder)
    _refuse_second_names(model, files)


def refuse_incomplete(report: Mapping[str, Any], folder: Path) -> None:
    """Refuse weights that are missing, which transformers would draw at random, or of another shape.

    Args:
        report: as `from_pretrained(output_loading_info=True)` returns it.
        folder: the model's folder or file.

    Raises:
        SDSError: a weight is missing or of another shape; it is named.
    """
    if missing := sorted(report["missing_keys"]):
        lacks = f"the model in {folder} lacks {len(missing)} of its weights, first {missing[0]}"
        raise SDSError(lacks, cure=SAVE_AGAIN)
    for name, found, expected in sorted(report["mismatched_keys"]):
        shapes = f"has shape {tuple(found)}, its configuration asks for {tuple(expected)}"
        raise SDSError(f"weight {name} of the model in {folder} {shapes}", cure=SAVE_AGAIN)


def refuse_quantised(names: Iterable[str], folder: Path) -> None:
    """Refuse quantised tensors.

    Args:
        names: their names.
        folder: the model's folder.

    Raises:
        SDSError: there are some; they are named.
    """
    if quantised := list(names):
        raise SDSError(f"the weights in {folder} are quantised: {_listed(quantised)}", cure=TAKE_ORIGINAL)


def refuse_foreign(names: Iterable[str], folder: Path) -> None:
    """Refuse tensors whose names tell that the model was saved inside something else.

    Args:
        names: names of tensors that the model has no use for.
        folder: the model's folder.

    Raises:
        SDSError: there are such; they are named.
    """
    for pattern, cure in FOREIGN.items():
        if found := [name for name in names if re.search(pattern, name)]:
            raise SDSError(f"{folder} holds what is not part of the model: {_listed(found)}", cure=cure)


def refuse_unused(names: Iterable[str], folder: Path) -> None:
    """Refuse tensors that the model has no use for.

    Args:
        names: their names.
        folder: the model's folder or file.

    Raises:
        SDSError: there are some; they are named.
    """
    if unused := list(names):
        cure = "correct config.json so that it describes all tensors, or save the model again"
        if folder.suffix == ".gguf":
            cure = "take the model in safetensors"
        raise SDSError(f"{folder} holds what is not part of the model: {_listed(unused)}", cure=cure)


def refuse_not_finite_weights(model: PreTrainedModel, folder: Path) -> None:
    """Refuse NaN and infinite weights: they load silently, and pruning by magnitude would keep them.

    Raises:
        SDSError: a weight is NaN or infinite; it is named.
    """
    for name, tensor in model.named_parameters():
        refuse_not_finite(name, tensor, folder)


def refuse_other_shapes(
    odd: Collection[str], shapes: Mapping[str, tuple[int, ...]], skeleton: PreTrainedModel, files: WeightFiles
) -> None:
    """Refuse weights that are stored quantised, inside something else, or in another shape.

    Args:
        odd: names of weights that cannot be made of what is stored.
        shapes: those that the model wants, by name.
        skeleton: the model, without weights.
        files: what is stored.

    Raises:
        SDSError: that is why.
    """
    if odd:
        extra = sorted(files.shapes.keys() - skeleton.state_dict().keys())
        packed = [name for name in odd if files.dtypes.get(name, PLAIN_DTYPES[0]) not in PLAIN_DTYPES]
        refuse_quantised([*filter(QUANTISED.search, extra), *packed], files.folder)
        refuse_foreign(extra, files.folder)
        stored = [name for name in odd if name in files.shapes and len(shapes[name]) < 3]  # experts may be transposed
        other = [(name, files.shapes[name], shapes[name]) for name in stored]
        refuse_incomplete({"missing_keys": (), "mismatched_keys": other}, files.folder)


def _refuse_second_names(model: PreTrainedModel, files: WeightFiles) -> None:
    """Refuse two unequal tensors for one weight, with and without the prefix of the model without head."""
    known = model.state_dict().keys()
    for name in files.shapes:
        full = f"{model.base_model_prefix}.{name}"
        twice = full in files.shapes and full in known and name not in known
        if twice and not torch.equal(files.get(name), files.get(full)):
            raise SDSError(
                f"{files.folder} holds two unequal tensors for one weight: {name} and {full}",
                cure="remove the one that is not meant, or save the model again",
            )


def _is_harmless(name: str, model: PreTrainedModel, files: WeightFiles) -> bool:
    """Whether an unused tensor makes no difference."""
    stored = next((own for own in files.shapes if own == name or name.endswith(f".{own}")), None)
    if stored is None:
        return False
    if is_leftover(name, files.shapes[stored]):
        return True
    buffer = dict(model.named_buffers()).get(name)  # one that the model computes by itself
    return buffer is not None and files.shapes[stored] == buffer.shape and torch.equal(files.get(stored), buffer)


def _low_precision(model: PreTrainedModel, files: WeightFiles) -> list[str]:
    """Names of weights that are stored as integers or in 8 bits."""
    weights = {name for name, weight in model.named_parameters() if weight.is_floating_point()}
    prefix = f"{model.base_model_prefix}."
    return [
        name
        for name, dtype in files.dtypes.items()
        if dtype not in PLAIN_DTYPES and (name in weights or prefix + name in weights)
    ]


def _has_scale(name: str, files: WeightFiles) -> bool:
    stem = name.removesuffix("weight")
    return any(other.startswith(stem) and "scale" in other.removeprefix(stem) for other in files.shapes)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
