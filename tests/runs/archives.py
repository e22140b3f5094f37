"""Archives with damage that only decompressing finds."""

import zipfile
from pathlib import Path


def damaged(source: Path, target: Path, name: str) -> None:
    """Copy an archive with the compressed bytes of the entry whose name ends so set to nonsense."""
    data = bytearray(source.read_bytes())
    with zipfile.ZipFile(source) as archive:
        (entry,) = (one for one in archive.infolist() if one.filename.endswith(name))
    begin = entry.header_offset + 30 + len(entry.filename)
    data[begin + 10 : begin + 60] = b"\xff" * 50
    target.write_bytes(data)
