"""Uploaded texts: stored under the digest of their content, so that none replaces another, and shown by their name."""

import hashlib
import re
from pathlib import Path

from sds_core.errors import SDSError
from sds_core.files import cache_folder, make_folder, write_atomically

LONGEST = 40
"""Characters of a name that are kept; in any script they fit in a file name."""


def store_text(name: str, data: bytes) -> Path:
    """Store an uploaded text in the user's cache; return its file, which never changes afterwards.

    Args:
        name: its original file name, in any script; characters that a text's name cannot hold are replaced.
        data: its content, in UTF-8.

    Raises:
        SDSError: it is not UTF-8, or cannot be stored.
    """
    try:
        data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SDSError(f"{name[:LONGEST]} is not a text in UTF-8: {error}", cure="save it as UTF-8") from error
    stem = re.sub(r"[^\w-]+", "-", re.sub(r"\.txt$", "", name, flags=re.IGNORECASE)).strip("-")[:LONGEST]
    path = cache_folder() / "texts" / hashlib.sha256(data).hexdigest()[:16] / f"{stem or 'text'}.txt"
    if not path.exists():
        make_folder(path.parent)
        write_atomically(path, lambda temporary: temporary.write_bytes(data))
    return path
