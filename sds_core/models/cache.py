"""The user's cache folder, and digests of files."""

import hashlib
from pathlib import Path

from sds_core.files import cache_folder


def self_text_folder() -> Path:
    """The folder for texts that models have written themselves."""
    return cache_folder() / "self-text"


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
