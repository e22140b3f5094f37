"""Hidden states of windows: a list in memory, or one on disk where memory is needed for weights."""

import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from sds_core.errors import SDSError


class HiddenStateFile:
    """A list of tensors of one shape and precision on disk, in an unnamed file that is gone when the process ends.

    Args:
        folder: where the file lies.
        tensors: the list's first items.
    """

    def __init__(self, folder: Path, tensors: Iterable[Tensor] = ()):
        folder.mkdir(parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115, open as long as the list
        self._count = 0
        for tensor in tensors:
            self.append(tensor)

    def append(self, tensor: Tensor) -> None:
        """Append a tensor.

        Raises:
            SDSError: the disk is full.
        """
        self._like = torch.empty((), dtype=tensor.dtype).expand(tensor.shape)  # shape and precision alone
        self._count += 1
        self[self._count - 1] = tensor

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(self._count))

    def __getitem__(self, i: int) -> Tensor:
        size = self._like.nbytes
        data = bytearray(os.pread(self._file.fileno(), size, range(self._count)[i] * size))
        return torch.frombuffer(data, dtype=self._like.dtype).view(self._like.shape)

    def __setitem__(self, i: int, tensor: Tensor) -> None:
        assert (tensor.shape, tensor.dtype) == (self._like.shape, self._like.dtype)
        data = tensor.contiguous().view(-1).view(torch.uint8).numpy().data
        try:
            written = os.pwrite(self._file.fileno(), data, range(self._count)[i] * self._like.nbytes)
        except OSError as error:
            raise SDSError(
                f"hidden states cannot be written to disk: {error.strerror}", cure="free some space"
            ) from error
        assert written == self._like.nbytes


HiddenStates = list[Tensor] | HiddenStateFile
"""Hidden states (1, T, C), one item a window."""
