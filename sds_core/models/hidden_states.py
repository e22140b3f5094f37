"""Hidden states of windows: a list on the device where the work is done, or where that is too small, one on the host.

On disk where memory is needed for weights.
"""

import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from sds_core.errors import SDSError

PINNED = ("cuda", "xpu")
"""Kinds of devices that copy from and to pinned memory of the host while host and device go on."""


class HostHiddenStates:
    """A list of tensors in the host's memory that are used on a device.

    In pinned memory copies are only queued, in the order in which the device uses them, so nothing waits for them; and
    nothing on the host may look at the items.

    Args:
        device: the items' device as they are read.
        tensors: the list's first items.
    """

    def __init__(self, device: torch.device, tensors: Iterable[Tensor] = ()):
        self._device = device
        self._items = [self._stored(tensor) for tensor in tensors]

    def _stored(self, tensor: Tensor) -> Tensor:
        if self._device.type not in PINNED:
            return tensor.cpu()
        return torch.empty_like(tensor, device="cpu", pin_memory=True).copy_(tensor, non_blocking=True)

    def append(self, tensor: Tensor) -> None:
        """Append a tensor from the device or the host."""
        self._items.append(self._stored(tensor))

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, i: int) -> Tensor:
        return self._items[i].to(self._device, non_blocking=True)

    def __setitem__(self, i: int, tensor: Tensor) -> None:
        self._items[i] = self._stored(tensor)

    def empty(self) -> "HostHiddenStates":
        """Return an empty list of the same kind."""
        return HostHiddenStates(self._device)


class HiddenStateFile:
    """A list of tensors on disk, in an unnamed file that is gone when the process ends.

    Args:
        folder: the folder of the file.
    """

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115, open as long as the list
        self._items: list[tuple[int, Tensor]] = []  # where each begins, and its shape and precision
        self._size = 0

    def append(self, tensor: Tensor) -> None:
        """Append a tensor.

        Raises:
            SDSError: the disk is full.
        """
        like = torch.empty((), dtype=tensor.dtype).expand(tensor.shape)
        self._items.append((self._size, like))
        self._size += like.nbytes
        self[-1] = tensor

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, i: int) -> Tensor:
        place, like = self._items[i]
        data = bytearray(os.pread(self._file.fileno(), like.nbytes, place))
        return torch.frombuffer(data, dtype=like.dtype).view(like.shape)

    def __setitem__(self, i: int, tensor: Tensor) -> None:
        place, like = self._items[i]
        if tensor.dtype != like.dtype:  # the first block of some families turns to float32
            place, like = self._size, torch.empty((), dtype=tensor.dtype).expand(tensor.shape)
            self._items[i], self._size = (place, like), self._size + like.nbytes
        assert tensor.shape == like.shape
        data = tensor.cpu().contiguous().view(-1).view(torch.uint8).numpy().data
        try:
            while data:  # a disk that fills up takes a part, and refuses the rest
                written = os.pwrite(self._file.fileno(), data, place)
                data, place = data[written:], place + written
        except OSError as error:
            raise SDSError(
                f"hidden states cannot be written to disk: {error.strerror}", cure="free some space"
            ) from error

    def empty(self) -> "HiddenStateFile":
        """Return an empty list of the same kind."""
        return HiddenStateFile(self._folder)


HiddenStates = list[Tensor] | HostHiddenStates | HiddenStateFile
"""Hidden states (B, T, C), one item a batch of windows; an item of a list is where the work is done."""


def empty_like(states: HiddenStates) -> HiddenStates:
    """Return an empty list of the same kind."""
    return [] if isinstance(states, list) else states.empty()
