"""Read the safetensors files of a model folder tensor by tensor; memory-mapped, they would fill memory."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from sds_core.errors import SDSError, first_line
from sds_core.files import parse_json
from sds_core.pruning.linalg import all_finite

SINGLE = "model.safetensors"
CONFIG = "config.json"
INDEX = "model.safetensors.index.json"
"""File names of transformers: weights in a single file, the configuration, and the index of several files."""
NAMED_FILE = "transformers_weights"
"""The field of a configuration that has transformers load a file of any other name."""
SHARD = re.compile(r"model-\d+-of-(\d+)\.safetensors")
"""One of several files, with their number."""


class WeightFiles:
    """Names and shapes of all tensors, and the tensors themselves on demand.

    Raises:
        SDSError: there are no such files, or they are broken, or two of them hold unequal tensors of one name.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.shapes: dict[str, tuple[int, ...]] = {}
        """Shapes by tensor name, in the order of the files."""
        self.dtypes: dict[str, str] = {}
        """Stored precisions by tensor name, as safetensors names them."""
        self._places: dict[str, Path] = {}
        self._seen: dict[Path, tuple[int, int]] = {}
        for path in weight_files(folder):
            self._seen[path] = _state(path)
            with self._open(path) as file:
                for name in file.keys():  # noqa: SIM118, not a dictionary
                    if name in self._places and not torch.equal(file.get_tensor(name), self.get(name)):
                        both = f"{self._places[name].name} and {path.name}"
                        cure = "download or save the model again"
                        raise SDSError(f"{both} in {folder} hold unequal tensors of one name: {name}", cure=cure)
                    self.shapes[name] = tuple(file.get_slice(name).get_shape())
                    self.dtypes[name] = file.get_slice(name).get_dtype()
                    self._places[name] = path

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
        """Yield tensors with their names, in their stored precision, file by file.

        Raises:
            SDSError: a file has changed since it was first opened, or a value is NaN or infinite.
        """
        by_file: dict[Path, list[str]] = {}
        for name in names:
            by_file.setdefault(self._places[name], []).append(name)
        for path, group in by_file.items():
            if _state(path) != self._seen[path]:
                raise SDSError(f"{path} changed while the model was in use", cure="start again")
            with self._open(path) as file:
                for name in group:
                    tensor = file.get_tensor(name)
                    refuse_not_finite(name, tensor, self.folder)
                    yield name, tensor

    def get(self, name: str) -> Tensor:
        """One tensor, of any values.

        Raises:
            SDSError: its file cannot be read.
        """
        with self._open(self._places[name]) as file:
            return file.get_tensor(name)

    def _open(self, path: Path) -> Any:
        try:
            return safe_open(path, "pt", backend="pread")
        except (OSError, SafetensorError) as error:
            raise SDSError(f"the weights in {path} cannot be read: {error}", cure="download the model again") from error


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that transformers loads from a folder: a single one, or else those that an index names.

    Raises:
        SDSError: there is neither, or the index is broken or does not name all files.
    """
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    if not (folder / INDEX).is_file():
        pickled = any(folder.glob("*.bin"))
        raise SDSError(
            f"there is neither {SINGLE} nor {INDEX} in {folder}",
            cure=f"convert its *.bin files: python -m sds_core convert {folder} NEW_FOLDER"
            if pickled
            else "download or save the model again",
        )
    names = shard_names(folder / INDEX)
    if "metadata" not in parse_json((folder / INDEX).read_text(encoding="utf-8")):  # transformers insists on it
        raise SDSError(f"{folder / INDEX} has no field 'metadata'", cure='add "metadata": {} to it')
    counts = {match[1] for name in names if (match := SHARD.fullmatch(name))}
    alike = {path.name for path in folder.iterdir() if (match := SHARD.fullmatch(path.name)) and match[1] in counts}
    if unnamed := sorted(alike - set(names)):
        raise SDSError(f"{INDEX} in {folder} does not name {unnamed[0]}", cure="download or save the model again")
    return [folder / name for name in names]


def has_weights(folder: Path) -> bool:
    """Whether all files of one set of weights are in a folder."""
    if (folder / SINGLE).is_file():
        return True
    return (folder / INDEX).is_file() and all((folder / name).is_file() for name in shard_names(folder / INDEX))


def refuse_other_weights(named: object, folder: Path) -> None:
    """Refuse a configuration that names other weights than those which are checked, hashed and read from disk.

    Args:
        named: its `transformers_weights`; None without.
        folder: the model's folder, with or without weights.

    Raises:
        SDSError: it does.
    """
    usual = [name for name in (SINGLE, INDEX) if (folder / name).is_file()][:1] or [SINGLE, INDEX]
    if named is not None and named not in usual:
        raise SDSError(
            f"bad configuration in {folder}: {NAMED_FILE}",
            got=named,
            allowed=" or ".join(usual),
            cure="load the model with transformers and save it again, which leaves this field out",
        )


def shard_names(index: Path) -> list[str]:
    """Names of the files beside it that an index names.

    Raises:
        SDSError: the index is broken, or names files elsewhere.
    """
    try:
        names = sorted({str(name) for name in parse_json(index.read_text(encoding="utf-8"))["weight_map"].values()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SDSError(f"{index} is broken: {first_line(error)}", cure="download the model again") from error
    if not names:
        raise SDSError(f"{index} names no files", cure="download or save the model again")
    if any(Path(name).name != name for name in names):
        raise SDSError(f"{index.name} in {index.parent} names files elsewhere", got=", ".join(names))
    return names


def refuse_not_finite(name: str, tensor: Tensor, where: Path) -> None:
    """Refuse a weight that is NaN or infinite.

    Raises:
        SDSError: a value is; the weight is named.
    """
    if not all_finite(tensor):
        raise SDSError(
            f"weight {name} of the model in {where} has NaN or infinite values",
            cure="download or save the model again",
        )


def _state(path: Path) -> tuple[int, int]:
    """Inode and modification time: they change when a file is written or replaced."""
    try:
        status = path.stat()
    except OSError as error:
        raise SDSError(f"{path} is gone", cure="put the model's files back") from error
    return status.st_ino, status.st_mtime_ns
