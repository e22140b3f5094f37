"""Read one column of a local table, row by row. Other columns are not interpreted, so faults there do not matter."""

import codecs
import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet

from sds_core.errors import SDSError

BATCH = 1024
"""Rows of a Parquet file that are read together."""
LONGEST_CELL = 2**31 - 1
"""Characters; Python's `csv` refuses more than 131,072 by default."""
ROW = json.JSONDecoder(strict=False, parse_int=lambda digits: int(digits) if len(digits) < 100 else float(digits))
"""Reads a row whose other fields need not be sound: tabs as they are, numbers longer than Python takes."""
SEPARATORS = "\t;|"
"""Separators in files that are called CSV, other than a comma."""
UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_column(path: Path, column: str) -> Iterator[Any]:
    """Yield a column's cells, of any type; None for an empty or missing one.

    Raises:
        SDSError: no row has the column, or a row cannot be split into columns unambiguously.
        OSError, ValueError: the file cannot be read or is not a table in UTF-8.
    """
    with path.open("rb") as file:
        if file.read(2) in UTF16:
            raise ValueError("it is in UTF-16")
    match path.suffix:
        case ".csv":
            return _csv_column(path, column)
        case ".jsonl":
            return _jsonl_column(path, column)
        case _:
            return _parquet_column(path, column)


def _csv_column(path: Path, column: str) -> Iterator[str]:
    csv.field_size_limit(LONGEST_CELL)
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        rows = csv.reader(file, strict=True)
        try:
            header = next(filter(None, rows), [])
            if any(name.startswith(" ") for name in header):  # spaces after commas: part of no name and no field
                file.seek(0)
                rows = csv.reader(file, strict=True, skipinitialspace=True)
                header = next(filter(None, rows))
            if not header:
                raise ValueError("it is empty")
            if header.count(column) != 1:
                raise _no_column(path, column, header)
            place, only_numbers, width = header.index(column), True, 0
            for row in filter(None, rows):
                width = width or max(len(row), len(header))
                _refuse_shifted(path, rows.line_num, row, header, place, width)
                only_numbers = only_numbers and _is_number(row[place])
                yield row[place]
            if only_numbers:
                raise SDSError(f"column {column!r} of the file {path} holds no text", allowed=", ".join(header))
        except csv.Error as error:
            raise ValueError(f"line {rows.line_num}: {error}") from error


def _is_number(cell: str) -> bool:
    """Whether a cell is a number or empty: a column of these is not text."""
    try:
        float(cell or 0)
    except ValueError:
        return False
    return True


def _refuse_shifted(path: Path, line: int, row: list[str], header: list[str], place: int, width: int) -> None:
    """Refuse a row whose fields may not stand under their own names.

    Surplus empty fields at its end are harmless where the first row, of `width` fields, has as many: else a comma in a
    text may have moved one there.
    """
    surplus = [field for field in row[len(header) :] if field.strip()]
    if surplus or (len(row) > len(header) and len(row) != width) or len(header) <= len(row) < width:
        raise SDSError(
            f"the row that ends in line {line} of {path} has {len(row)} fields, "
            + (f"its header {len(header)}" if surplus or width == len(header) else f"the first row {width}"),
            got=surplus[0] if surplus else ",".join(row),
            cure="put text that holds a comma in double quotes",
        )
    if len(row) <= place:
        raise SDSError(
            f"the row that ends in line {line} of {path} has no column {header[place]!r}",
            got=",".join(row),
            cure="put text that holds a line break in double quotes",
        )


def _jsonl_column(path: Path, column: str) -> Iterator[Any]:
    names, found = dict[str, None](), False
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = ROW.decode(line.strip())
            except (ValueError, RecursionError) as error:
                raise ValueError(f"line {number}: {error}") from error
            if not isinstance(row, dict):
                raise ValueError(f"line {number} is not a JSON object")
            names |= dict.fromkeys(row)
            found |= column in row
            yield row.get(column)
    if not names:
        raise ValueError("it is empty")
    if not found:
        raise _no_column(path, column, list(names))


def _parquet_column(path: Path, column: str) -> Iterator[Any]:
    with path.open("rb") as file, pyarrow.parquet.ParquetFile(file, page_checksum_verification=True) as table:
        names = table.schema_arrow.names
        if names.count(column) != 1:
            raise _no_column(path, column, names)
        for batch in table.iter_batches(BATCH, columns=[column]):
            yield from batch.column(0).to_pylist()


def _no_column(path: Path, column: str, names: list[str]) -> SDSError:
    times = "has no column" if column not in names else "has more than one column"
    found = next((sign for sign in SEPARATORS if len(names) == 1 and sign in names[0]), None)
    cure = f"separate its columns by commas, not by {found!r}" if found else None
    if path.suffix == ".csv" and column not in names and not found:
        cure = "its first line must name the columns; name one of them: FILE:COLUMN"
    return SDSError(f"the file {path} {times} {column!r}", allowed=", ".join(names), cure=cure)
