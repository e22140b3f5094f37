"""Convert a model whose weights are pickled (`*.bin`) to safetensors, running no code from the files."""

from pathlib import Path

import torch
from torch import Tensor

from sds_core.errors import SDSError, first_line
from sds_core.files import refuse_pointer, user_path, write_json
from sds_core.models.companion_files import copy_companions, copy_portable
from sds_core.models.find_model import BESIDE, download
from sds_core.models.free_memory import out_of_memory
from sds_core.models.load import load_model
from sds_core.models.model_files import description_files
from sds_core.models.tensor_files import new_model_folder, save_tensors
from sds_core.models.weight_files import INDEX, SINGLE, shard_names

PICKLED = "pytorch_model.bin"
PICKLED_INDEX = "pytorch_model.bin.index.json"


def convert(name: str, target: Path) -> None:
    """Write a model's weights as safetensors into a new folder, with its configuration and tokenizer.

    Args:
        name: a hub id or a folder.
        target: a folder that does not exist.

    Raises:
        SDSError: there is no such model, its files are not sound, or the folder exists.
    """
    if target.exists():
        raise SDSError("the folder to convert to exists", got=target, allowed="a new folder")
    source = _find_pickled(name)
    with new_model_folder(target) as folder:
        for path in description_files(source):
            if path.name != PICKLED_INDEX:
                copy_portable(path, folder / path.name)
        copy_companions(source, folder)
        _convert_weights(source, folder)
        load_model(str(folder), weights="auto")  # refuses what is not a whole model


def _find_pickled(name: str) -> Path:
    """The folder with a model's pickled weights, downloaded first if need be."""
    folder = user_path(name)
    if not folder.is_dir():
        folder = download(name, [*BESIDE, PICKLED])
        if not (folder / PICKLED).is_file() and (folder / PICKLED_INDEX).is_file():
            download(name, shard_names(folder / PICKLED_INDEX), folder.name)
    if not (folder / PICKLED).is_file() and not (folder / PICKLED_INDEX).is_file():
        raise SDSError("this model has no pickled weights", got=name, allowed=f"{PICKLED}, or {PICKLED_INDEX}")
    return folder


def _convert_weights(source: Path, target: Path) -> None:
    """Convert file by file, so that memory holds one of them."""
    if (source / PICKLED).is_file():
        save_tensors(target / SINGLE, _unpickle(source / PICKLED), {"format": "pt"})
        return
    weight_map, size = dict[str, str](), 0
    for name in shard_names(source / PICKLED_INDEX):
        tensors = _unpickle(source / name)
        new = Path(name).with_suffix(".safetensors").name.removeprefix("pytorch_")
        save_tensors(target / new, tensors, {"format": "pt"})
        weight_map |= dict.fromkeys(tensors, new)
        size += sum(tensor.nbytes for tensor in tensors.values())
        del tensors  # before the next file is read
    write_json(target / INDEX, {"metadata": {"total_size": size}, "weight_map": weight_map})


def _unpickle(path: Path) -> dict[str, Tensor]:
    """The tensors of a file; those that share memory with others are copied, since safetensors cannot share."""
    try:
        refuse_pointer(path)
        values = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(values, dict) or not all(
            isinstance(name, str) and isinstance(value, Tensor) for name, value in values.items()
        ):
            raise SDSError(f"{path} is not a list of named tensors", cure="take a copy of the model in safetensors")
        return _apart(values)
    except SDSError:
        raise
    except Exception as error:  # a corrupt file makes the library raise errors of any type
        if full := out_of_memory(error):
            raise full from error
        if isinstance(error, OSError):
            raise SDSError(f"{path} cannot be read: {first_line(error)}") from error
        raise SDSError(
            f"{path} holds more than tensors, or is broken: {first_line(error)}",
            cure="take a copy of the model in safetensors; code in files is never run",
        ) from error


def _apart(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copy each tensor that shares its memory or is not contiguous, in its place; return the same dict.

    The first of several that share all of their memory keeps it.
    """
    seen = set[int]()
    for name in tensors:
        tensor = tensors[name].detach()
        memory = tensor.untyped_storage()
        alone = memory.nbytes() == tensor.nbytes and memory.data_ptr() not in seen
        seen.add(memory.data_ptr())
        kept = alone and tensor.is_contiguous()
        # In place: memory that no tensor needs any more is freed before the next copy.
        tensors[name] = tensor if kept else tensor.clone(memory_format=torch.contiguous_format)
    return tensors
