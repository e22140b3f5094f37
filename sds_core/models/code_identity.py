"""Identify the code that computes a result, so that a cache never returns the result of other code."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import sds_core
from sds_core.models.known_families import library_folder

if TYPE_CHECKING:
    from torch import nn

LIBRARIES = ("torch", "transformers", "tokenizers", "safetensors", "gguf", "numpy")
"""Libraries that read models and texts and compute with them."""
COMPUTING = ("models/*.py", "pruning/*.py")
"""The package's own modules that do so."""
SHARED = ("*.py", "integrations/*.py")
"""Modules of transformers that all families share: attention masks, rotary embeddings, caches, readers of files."""


def families(model: nn.Module) -> tuple[str, ...]:
    """Return the families of transformers whose modules a model consists of, such as `llama`."""
    modules = {type(module).__module__ for module in model.modules()}
    return tuple(sorted({name.split(".")[2] for name in modules if name.startswith("transformers.models.")}))


def code_identity(of: Sequence[str] = (), own: Sequence[str] = COMPUTING) -> tuple[str, ...]:
    """Return versions of libraries, and a SHA-256 over the sources that compute.

    Versions are not enough: a library under development, or one patched by hand, keeps its version.

    Args:
        of: the model's `families`, whose modules count too; none where no model computes.
        own: patterns of the package's modules that count.
    """
    package, library = Path(sds_core.__file__).parent, library_folder()
    ours = [path for pattern in own for path in package.glob(pattern)]
    known = [f"models/{family}/*.py" for family in of if family.isidentifier()]  # a record may come from anyone
    theirs = [path for pattern in (*SHARED, *known) for path in library.glob(pattern)]
    digest = hashlib.sha256()
    for path in sorted(ours) + sorted(theirs):
        digest.update(f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return (*(f"{name} {_version(name)}" for name in LIBRARIES), digest.hexdigest())


def _version(library: str) -> str:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return "missing"
