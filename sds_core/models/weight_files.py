"""The safetensors files of a model folder, read tensor by tensor, not memory-mapped: a map would fill memory."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from sds_core.errors import SDSError

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
"""File names of transformers: a single file, and the index of several."""


class WeightFiles:
    """Names and shapes of all tensors, and the tensors themselves on demand.

    Raises:
        SDSError: there are no such files, or they are broken.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.shapes: dict[str, tuple[int, ...]] = {}
        """Shapes by tensor name, in the order of the files."""
        self._places: dict[str, Path] = {}
        self._seen: dict[Path, tuple[int, int]] = {}
        for path in self._files():
            self._seen[path] = _state(path)
            with self._open(path) as file:
                for name in file.keys():  # noqa: SIM118, not a dictionary
                    self.shapes[name] = tuple(file.get_slice(name).get_shape())
                    self._places[name] = path

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
        """Yield tensors with their names, in their stored precision, file by file.

        Raises:
            SDSError: a file has changed since it was opened first, or a value is NaN or infinite.
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

    def _files(self) -> list[Path]:
        if (self.folder / SINGLE).is_file():
            return [self.folder / SINGLE]
        try:
            places = json.loads((self.folder / INDEX).read_text(encoding="utf-8"))["weight_map"]
            names = sorted(set(places.values()))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise SDSError(f"there is neither {SINGLE} nor a sound {INDEX} in {self.folder}") from error
        if any(Path(name).name != name for name in names):
            raise SDSError(f"{INDEX} in {self.folder} names files elsewhere", got=", ".join(names))
        return [self.folder / name for name in names]

    def _open(self, path: Path) -> Any:
        try:
            return safe_open(path, "pt", backend="pread")
        except (OSError, SafetensorError) as error:
            raise SDSError(f"the weights in {path} cannot be read: {error}", cure="download the model again") from error


def refuse_not_finite(name: str, tensor: Tensor, where: Path) -> None:
    """Refuse a weight that is NaN or infinite.

    Raises:
        SDSError: a value is; the weight is named.
    """
    if not tensor.isfinite().all():
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
