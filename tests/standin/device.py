"""A stand-in for a GPU: a torch device that is not the CPU, refuses mixed operations, and counts copies and waits.

Compiled with the system's C++ compiler, once a machine: the library is kept in the user's cache folder.
"""

import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import types
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch.utils import cpp_extension

NAME = "standin"
SOURCE = Path(__file__).with_suffix(".cpp")


class Counts(NamedTuple):
    """What was asked of the device."""

    to_host: int
    """Bytes copied from the device to the host."""
    to_device: int
    """Bytes copied from the host to the device."""
    waits: int
    """Times that the host had to wait for a result: values read, blocking copies, shapes that depend on values."""


class Standin:
    """The device, registered with torch under the name `standin` for the rest of the process."""

    def __init__(self, library: ctypes.CDLL):
        self._library = library
        torch.utils.rename_privateuse1_backend(NAME)
        module = types.ModuleType(f"torch.{NAME}")
        vars(module).update(
            is_available=lambda: True,
            device_count=lambda: 1,
            current_device=lambda: 0,
            mem_get_info=lambda device=None: (1 << 30, 1 << 30),
            memory_reserved=lambda device=None: 0,
            memory_allocated=lambda device=None: 0,
            get_amp_supported_dtype=lambda: [torch.float16, torch.bfloat16],
            manual_seed_all=lambda seed: None,
            _is_in_bad_fork=lambda: False,
        )
        torch._register_device_module(NAME, module)
        self.device = torch.device(NAME, 0)

    def reset(self) -> None:
        """Set all counts to 0."""
        self._library.standin_reset()

    def counts(self) -> Counts:
        """Return what was counted since the last `reset`."""
        numbers = (ctypes.c_int64 * 3)()
        self._library.standin_counts(numbers)
        return Counts(*numbers)

    @contextmanager
    def without_float64(self) -> Iterator[None]:
        """The device refuses float64 inside the `with`, as Apple's does."""
        self._library.standin_float64(0)
        try:
            yield
        finally:
            self._library.standin_float64(1)


@cache
def standin() -> Standin | str:
    """Return the device, or why there is none."""
    compiler = shutil.which(os.environ.get("CXX", "c++")) or shutil.which("g++")
    if sys.platform != "linux" or compiler is None:
        return "the stand-in device needs Linux and a C++ compiler"
    try:
        library = _compiled(compiler)
    except subprocess.CalledProcessError as error:
        return f"the stand-in device does not compile here: {error.stderr[-300:]}"
    return Standin(ctypes.CDLL(str(library)))


def _compiled(compiler: str) -> Path:
    """Return the compiled library, from the cache if this source was compiled for this torch before."""
    identity = SOURCE.read_bytes() + torch.__version__.encode() + compiler.encode()
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sds-studio-tests"
    path = base / f"standin-{hashlib.sha256(identity).hexdigest()[:16]}.so"
    if path.exists():
        return path
    base.mkdir(parents=True, exist_ok=True)
    includes = [f"-I{folder}" for folder in cpp_extension.include_paths()]
    libraries = [word for folder in cpp_extension.library_paths() for word in (f"-L{folder}", f"-Wl,-rpath,{folder}")]
    flags = ["-std=c++20", "-O1", "-shared", "-fPIC", "-w"]
    with tempfile.TemporaryDirectory(dir=base) as folder:
        made = Path(folder) / path.name
        command = [compiler, *flags, *includes, str(SOURCE), "-o", str(made), *libraries]
        subprocess.run([*command, "-ltorch_cpu", "-lc10"], check=True, capture_output=True, text=True)
        made.replace(path)  # whole or not there, whoever else compiles it
    return path
