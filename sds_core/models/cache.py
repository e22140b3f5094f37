"""The user's cache folder, and digests of files."""

import hashlib
import os
from pathlib import Path


def cache_folder() -> Path:
    """The folder for converted models and dense results: `SDS_CACHE`, or `sds-studio` in the user's cache."""
    usual = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sds-studio"
    return Path(os.environ.get("SDS_CACHE") or usual)


def self_text_folder() -> Path:
    """The folder for texts that models have written themselves."""
    return cache_folder() / "self-text"


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
