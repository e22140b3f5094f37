"""Write safetensors files and model folders completely or not at all."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from sds_core.files import new_folder, write_atomically


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write named tensors to a file, atomically.

    Args:
        path: its folder exists.
        tensors: contiguous, no two sharing memory.
        metadata: texts to store beside them.

    Raises:
        SDSError: the file cannot be written; what was there before is untouched.
    """

    def write(temporary: Path) -> None:
        with _system_errors():
            save_file(dict(tensors), temporary, metadata=dict(metadata) if metadata else None)

    write_atomically(path, write)


@contextmanager
def new_model_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path` that takes its place at the end; an error leaves neither.

    Raises:
        SDSError: a file cannot be written, or `path` has been filled meanwhile.
    """
    with new_folder(path) as folder, _system_errors():
        yield folder


@contextmanager
def _system_errors() -> Iterator[None]:
    """Raise a file system error that safetensors quotes, such as a full disk, as that error itself."""
    try:
        yield
    except SafetensorError as error:
        code = re.search(r"\(os error (\d+)\)", str(error))
        raise (OSError(int(code[1]), os.strerror(int(code[1]))) if code else OSError(str(error))) from error
