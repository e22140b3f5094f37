"""The report of transformers' loader: what the files lack or hold in another shape is refused, nothing is filled in."""

from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from sds_core.errors import SDSError
from sds_core.models.weight_files import refuse_not_finite

SAVE_AGAIN = "download or save it again; nothing is filled in"


def refuse_incomplete(report: dict[str, Any], folder: Path) -> None:
    """Refuse weights that are missing, which transformers would draw at random, or of another shape.

    Args:
        report: as `from_pretrained(output_loading_info=True)` returns it.
        folder: the model's folder or file.

    Raises:
        SDSError: a weight is missing or of another shape; it is named.
    """
    if missing := sorted(report["missing_keys"]):
        raise SDSError(
            f"the model in {folder} lacks {len(missing)} of its weights, first {missing[0]}", cure=SAVE_AGAIN
        )
    for name, found, expected in sorted(report["mismatched_keys"]):
        shapes = f"has shape {tuple(found)}, its configuration asks for {tuple(expected)}"
        raise SDSError(f"weight {name} of the model in {folder} {shapes}", cure=SAVE_AGAIN)


def refuse_not_finite_weights(model: PreTrainedModel, folder: Path) -> None:
    """Refuse NaN and infinite weights: they load silently, and pruning by magnitude would keep them.

    Raises:
        SDSError: a weight is NaN or infinite; it is named.
    """
    for name, tensor in model.named_parameters():
        refuse_not_finite(name, tensor, folder)
