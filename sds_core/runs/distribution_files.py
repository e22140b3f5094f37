"""The Parquet files of a run's distributions, whose content is checked before and after it is read."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sds_core.errors import SDSError
from sds_core.files import write_atomically
from sds_core.options import is_unicode
from sds_core.pruning.bins import BINS, CORNER, JOINT
from sds_core.pruning.stages import RecordedStage
from sds_core.runs.layer_row import LayerRow
from sds_core.runs.parquet_footer import read_footer
from sds_core.runs.recorded_values import MOST_BLOCKS
from sds_core.runs.run_folder import DISTRIBUTIONS

if TYPE_CHECKING:
    import pandas as pd


_PLAIN: dict[Any, pa.DataType] = {int: pa.int64(), float: pa.float64()}
_LISTS = {
    name: pa.list_(kind) for name, kind in (("counts", pa.int32()), ("joint", pa.int32()), ("norms", pa.float32()))
}
BYTES = {"crop": np.uint8, "corner": np.int8}
"""Lists of numbers that fit a byte, stored as bytes: lists of small integers would take four times the space."""
LISTS = {*_LISTS, *BYTES}
"""Columns of lists."""
SCHEMA = pa.schema(
    (f.name, pa.binary() if f.name in BYTES else _LISTS.get(f.name, _PLAIN.get(f.type, pa.string())))
    for f in fields(LayerRow)
)
"""A column for each field."""
OPTIONAL = {"joint", "crop", "corner", "norms"}
"""Lists that a row may lack."""
SPLIT = {f"{name}.list.element": "BYTE_STREAM_SPLIT" for name in ("counts", "joint")}
"""Small counts in wide integers: split into their bytes they compress to a little over half."""
STAGES = frozenset(get_args(RecordedStage))
LONGEST_NAME = 300
MOST_WEIGHTS = 10**15
MOST_VALUES = 200_000_000
"""Values in all files of a run; in memory they take eight bytes each."""
MOST_UNFOLDED = 40
"""Values for each byte of a file; those that runs write hold two or three."""
SMALL = 1_000_000
"""Values that a file of any size may hold."""
BROKEN = (OSError, ValueError, KeyError, TypeError, NotImplementedError, OverflowError, pa.ArrowException)
"""Exceptions of the library on damaged files."""


def save(path: Path, rows: Sequence[LayerRow]) -> None:
    """Write rows as one file, with checksums."""
    _write(path, pa.Table.from_pylist([_packed(row) for row in rows], schema=SCHEMA), level=9)


def compress(path: Path) -> None:
    """Rewrite a file as small as possible, which takes ten times as long: for records that ship."""
    _write(path, pq.read_table(path, page_checksum_verification=True, partitioning=None), level=19)


def _packed(row: LayerRow) -> dict[str, Any]:
    """Return a row's values as they are stored."""
    short = {name: getattr(row, name) for name in BYTES}
    return vars(row) | {
        name: None if values is None else np.asarray(values, BYTES[name]).tobytes() for name, values in short.items()
    }


def _write(path: Path, table: pa.Table, level: int) -> None:
    write_atomically(
        path,
        lambda temporary: pq.write_table(
            table,
            temporary,
            compression="zstd",
            compression_level=level,
            use_dictionary=[name for name in SCHEMA.names if SCHEMA.field(name).type == pa.string()],
            column_encoding=SPLIT,
            write_statistics=False,
            write_page_checksum=True,
        ),
    )


def files(folder: Path) -> list[tuple[int, Path]]:
    """Return the files of a run's folder with their blocks, in the order of writing; other files are left out."""
    found = list[tuple[int, int, Path]]()
    for path in (folder / DISTRIBUTIONS).glob("*.parquet"):
        block = path.stem.rpartition("-")[2]
        if block.isascii() and block.isdigit() and len(block) < 6:
            try:
                found.append((path.stat().st_mtime_ns, int(block), path))
            except FileNotFoundError:  # the run was removed meanwhile
                continue
    return [(block, path) for _, block, path in sorted(found)]


def stamp(path: Path) -> tuple[int, int]:
    """Return what changes with a file's content: its inode, and the time of its last change.

    Raises:
        SDSError: it is gone.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise SDSError(f"{path} is gone") from error
    return status.st_ino, status.st_mtime_ns


def refuse_too_large(paths: Sequence[Path], most: int = MOST_VALUES) -> None:
    """Refuse files that together unfold to more than memory should take.

    Raises:
        SDSError: they do, or one is broken.
    """
    values = sum(map(_values, paths))
    if values > most:
        raise SDSError(f"the distributions hold {values:,} values", allowed=f"{most:,}")


def read(path: Path, columns: Sequence[str] | None = None) -> "pd.DataFrame":
    """Return the rows of a file.

    Args:
        path: the file.
        columns: those to read; None for all.

    Raises:
        SDSError: it is broken, holds other columns, or unfolds to too much.
    """
    _values(path)
    with _sound(path):
        frame = pq.read_table(
            path, columns=list(columns) if columns else None, page_checksum_verification=True, partitioning=None
        ).to_pandas()
    for name in BYTES.keys() & set(frame.columns):
        frame[name] = [None if stored is None else np.frombuffer(stored, BYTES[name]) for stored in frame[name]]
    _refuse_nonsense(path, frame)
    return frame


def _values(path: Path) -> int:
    """Return how many values a file holds, from its metadata alone.

    Raises:
        SDSError: it is broken, holds other columns, or unfolds to too much.
    """
    with _sound(path), pq.ParquetFile(path) as file:
        schema, metadata, size = file.schema_arrow, file.metadata, path.stat().st_size
        footer = read_footer(path)
        values = max(footer.values, metadata.num_rows * metadata.num_columns, footer.unfolded // 8)
    if values > SMALL + MOST_UNFOLDED * size:
        raise SDSError(f"{path.name}, {size:,} bytes, would unfold to {values:,} values", cure="it is not a run's file")
    for field in SCHEMA:
        count = schema.names.count(field.name)
        if count != 1 or not _alike(schema.field(field.name).type, field.type):
            _refuse(path, f"it has no column {field.name} of {field.type}")
    if unknown := set(schema.names) - set(SCHEMA.names):
        _refuse(path, f"it has another column, {min(unknown)[:40]!r}")
    return values


def _alike(one: pa.DataType, other: pa.DataType) -> bool:
    """Whether two types hold the same kind of values, in whatever width."""
    if pa.types.is_list(one) and pa.types.is_list(other):
        return _alike(one.value_type, other.value_type)
    text = lambda kind: kind in (pa.string(), pa.large_string())
    kinds = (pa.types.is_integer, pa.types.is_floating, pa.types.is_binary, text)
    return any(kind(one) and kind(other) for kind in kinds)


def _refuse_nonsense(path: Path, frame: "pd.DataFrame") -> None:
    """Refuse values that no run writes."""
    for name in frame.columns:
        kind = SCHEMA.field(name).type
        if pa.types.is_floating(kind):
            if np.isinf(frame[name].to_numpy(float)).any():
                _refuse(path, f"a {name} is infinite")
        elif name not in OPTIONAL and frame[name].isna().any():
            _refuse(path, f"a {name} is missing")
        elif pa.types.is_integer(kind) and ((frame[name] < 0) | (frame[name] > MOST_WEIGHTS)).any():
            _refuse(path, f"a {name} is out of range")
        elif pa.types.is_string(kind) and not frame[name].map(_is_name).all():
            _refuse(path, f"a {name} is empty or too long")
    if "block" in frame and (frame["block"] >= MOST_BLOCKS).any():
        _refuse(path, "a block is out of range")
    if "stage" in frame and not set(frame["stage"]) <= STAGES:
        _refuse(path, "a stage is unknown")
    if "columns" in frame and (frame["columns"] < 1).any():
        _refuse(path, "a layer has no columns")
    for name, size in (("counts", BINS), ("joint", JOINT**2)):
        if name in frame and not all(len(values) == size and values.min() >= 0 for values in frame[name].dropna()):
            _refuse(path, f"{name} are not {size} numbers")
    for name, most in (("crop", 3), ("corner", 127)):
        if {name, "columns"} <= set(frame.columns):
            for values, columns in frame[[name, "columns"]].dropna().itertuples(index=False):
                wide = min(columns, CORNER)
                if not values.size or values.size % wide or values.size > CORNER * wide or values.max() > most:
                    _refuse(path, f"a {name} is no corner of this layer")
    if {"norms", "columns"} <= set(frame.columns):
        for norms, columns in frame[["norms", "columns"]].dropna().itertuples(index=False):
            if norms.size != min(columns, CORNER) or not np.isfinite(norms).all():
                _refuse(path, "norms are not those of this layer's inputs")


def _is_name(text: str) -> bool:
    return 0 < len(text) <= LONGEST_NAME and is_unicode(text)


@contextmanager
def _sound(path: Path) -> Iterator[None]:
    """Raise the library's errors about a broken file as SDSError."""
    try:
        yield
    except BROKEN as error:
        raise SDSError(f"the distributions in {path} are broken: {str(error).splitlines()[0]}") from error


def _refuse(path: Path, why: str) -> NoReturn:
    raise SDSError(f"the distributions in {path} are broken: {why}")
