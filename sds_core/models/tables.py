"""Read one column of a local table, row by row. Other columns are not interpreted, so faults there do not matter."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet

from sds_core.errors import SDSError
from sds_core.files import parse_json

BATCH = 1024
"""Rows of a Parquet file that are read together."""
LONGEST_CELL = 2**31 - 1
"""Characters; Python's `csv` refuses more than 131,072 by default."""


def read_column(path: Path, column: str) -> Iterator[Any]:
    """Yield a column's cells, of any type; None for an empty or missing one.

    Raises:
        SDSError: no row has the column, or a row cannot be split into columns unambiguously.
        OSError, ValueError: the file cannot be read or is not a table in UTF-8.
    """
    match path.suffix:
        case ".csv":
            return _csv_column(path, column)
        case ".jsonl":
            return _jsonl_column(path, column)
        case _:
            return _parquet_column(path, column)


def _csv_column(path: Path, column: str) -> Iterator[str]:
    csv.field_size_limit(LONGEST_CELL)
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file, strict=True)
        try:
            header = next(rows, [])
            if not header:
                raise ValueError("it is empty")
            if header.count(column) != 1:
                raise _no_column(path, column, header)
            place, only_numbers = header.index(column), True
            for row in rows:
                if row:
                    _refuse_shifted(path, rows.line_num, row, header, place)
                    only_numbers = only_numbers and _is_number(row[place])
                    yield row[place]
            if only_numbers:
                raise SDSError(f"column {column!r} of the file {path} holds no text", allowed=", ".join(header))
        except csv.Error as error:
            raise ValueError(f"line {rows.line_num}: {error}") from error


def _is_number(cell: str) -> bool:
    """Whether a cell is a number or empty: a column of these alone is no text."""
    try:
        float(cell or 0)
    except ValueError:
        return False
    return True


def _refuse_shifted(path: Path, line: int, row: list[str], header: list[str], place: int) -> None:
    """Refuse a row whose fields may be shifted against the header; surplus empty fields at its end are harmless."""
    if surplus := [field for field in row[len(header) :] if field.strip()]:
        raise SDSError(
            f"the row that ends in line {line} of {path} has {len(row)} fields, its header {len(header)}",
            got=surplus[0],
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
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = parse_json(line)
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
    with path.open("rb") as file, pyarrow.parquet.ParquetFile(file) as table:
        names = table.schema_arrow.names
        if names.count(column) != 1:
            raise _no_column(path, column, names)
        for batch in table.iter_batches(BATCH, columns=[column]):
            yield from batch.column(0).to_pylist()


def _no_column(path: Path, column: str, names: list[str]) -> SDSError:
    times = "has no column" if column not in names else "has more than one column"
    return SDSError(f"the file {path} {times} {column!r}", allowed=", ".join(names))
