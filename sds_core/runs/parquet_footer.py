"""How much a Parquet file unfolds to, read from its footer.

pyarrow's own objects for column metadata end the whole process where a footer is damaged: what its C++ code throws is
not caught there. The footer is a Thrift struct in the compact protocol (`parquet.thrift` of the Apache Parquet format);
two of its numbers are needed.
"""

import struct
from pathlib import Path
from typing import Any, NamedTuple

MAGIC = b"PAR1"
DEEPEST = 12
"""Structs, lists and maps inside each other; a footer has half as many."""
COLUMNS, CHUNK, VALUES, UNFOLDED, GROUPS = 1, 3, 5, 6, 4
"""Ids of fields: a row group's columns, a column's metadata, its number of values and bytes, a file's row groups."""


class Footer(NamedTuple):
    """What all columns of all row groups hold together."""

    values: int
    unfolded: int
    """Bytes, uncompressed."""


def read_footer(path: Path) -> Footer:
    """Return what a file's footer says.

    Raises:
        ValueError: it is no Parquet footer.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 8))
        end = file.read(8)
        length = int.from_bytes(end[:4], "little")
        if end[4:] != MAGIC or length > size - 8:
            raise ValueError("it does not end like a Parquet file")
        file.seek(size - 8 - length)
        data = file.read(length)
    try:
        groups = _Compact(data).value(12)[GROUPS]
        chunks = [chunk[CHUNK] for group in groups for chunk in group[COLUMNS]]
        return Footer(sum(chunk[VALUES] for chunk in chunks), sum(chunk[UNFOLDED] for chunk in chunks))
    except (IndexError, KeyError, TypeError, struct.error) as error:
        raise ValueError("its footer is damaged") from error


class _Compact:
    """A reader of Thrift's compact protocol: structs become dictionaries by field id."""

    def __init__(self, data: bytes):
        self._data, self._place = data, 0

    def value(self, kind: int, depth: int = 0) -> Any:
        """Read a value of one of the protocol's types."""
        if depth > DEEPEST:
            raise IndexError
        match kind:
            case 1 | 2:  # a boolean outside a struct is a byte
                return self._byte() == 1
            case 3:
                return self._byte()
            case 4 | 5 | 6:
                number = self._varint()
                return (number >> 1) ^ -(number & 1)
            case 7:
                return struct.unpack("<d", self._bytes(8))[0]
            case 8:
                return self._bytes(self._varint())
            case 9 | 10:
                head = self._byte()
                count = head >> 4 if head >> 4 < 15 else self._varint()
                return [self.value(head & 15, depth + 1) for _ in range(count)]
            case 11:
                count = self._varint()
                kinds = self._byte() if count else 0
                pairs = ((self.value(kinds >> 4, depth + 1), self.value(kinds & 15, depth + 1)) for _ in range(count))
                return dict(pairs)
            case 12:
                return self._struct(depth)
        raise IndexError

    def _struct(self, depth: int) -> dict[int, Any]:
        found, field = dict[int, Any](), 0
        while head := self._byte():
            field = field + (head >> 4) if head >> 4 else self.value(5)
            kind = head & 15
            found[field] = kind == 1 if kind in (1, 2) else self.value(kind, depth + 1)
        return found

    def _byte(self) -> int:
        self._place += 1
        return self._data[self._place - 1]

    def _bytes(self, count: int) -> bytes:
        found = self._data[self._place : self._place + count]
        if len(found) != count:
            raise IndexError
        self._place += count
        return found

    def _varint(self) -> int:
        number = shift = 0
        while (byte := self._byte()) >= 128:
            number |= (byte & 127) << shift
            shift += 7
            if shift > 63:
                raise IndexError
        return number | byte << shift
