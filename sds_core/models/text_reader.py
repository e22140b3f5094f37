"""A source's rows of text: lines of a file, a column of a table, a column of a hub data set."""

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from sds_core.errors import SDSError, first_line
from sds_core.models.text_spec import ALLOWED, PYTHON_DOCS, TABLES, file_and_column

HUB_CHARACTERS = 20_000_000
"""A hub data set is streamed up to this length; C4 has no end. Local files are read whole."""


def read(source: str) -> str:
    """A source as one string; rows are stripped of their line end and joined by blank lines.

    Raises:
        SDSError: it is unknown, out of reach, or holds no text.
    """
    if source == PYTHON_DOCS:
        from pydoc_data.topics import topics

        return "\n\n".join(topics[name].strip() for name in sorted(topics))
    if source.startswith("hub:"):
        return "\n\n".join(_hub_rows(source))
    name, column = file_and_column(source)
    path = Path(os.path.expanduser(name))
    if path.suffix not in (".txt", *TABLES):
        raise SDSError("unknown text", got=source, allowed=ALLOWED)
    try:
        with open(path, "rb"):  # before the libraries are asked: they take some names for addresses or patterns
            pass
        if path.suffix == ".txt":
            return "\n\n".join(path.read_text(encoding="utf-8").removesuffix("\n").split("\n"))
        return "\n\n".join(_column(_table(path), column, f"the file {path}"))
    except FileNotFoundError:
        raise SDSError("there is no such text file", got=source) from None
    except (OSError, ValueError) as error:  # a ValueError: not UTF-8, not a table, or a zero byte in the name
        wanted = "a file in UTF-8" if path.suffix == ".txt" else f"a sound {path.suffix} file, its text in UTF-8"
        raise SDSError(f"the text file {path} cannot be read: {first_line(error)}", allowed=wanted) from error


def _table(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a local table, streamed, so that no copy is left in a cache; words such as NA stay words."""
    from datasets import load_dataset

    options = {"keep_default_na": False} if path.suffix == ".csv" else {}
    name = glob.escape(str(path.resolve()))
    try:
        rows = load_dataset(TABLES[path.suffix], data_files=name, split="train", streaming=True, **options)
    except StopIteration as error:  # what the library makes of an empty file
        raise ValueError("it is empty") from error
    yield from rows


def _hub_rows(source: str) -> list[str]:
    """Rows of a hub data set's column, streamed up to `HUB_CHARACTERS`."""
    from datasets import load_dataset

    fields = source.split(":")[1:]
    if len(fields) != 4 or not fields[0]:
        raise SDSError(
            "not a hub data set", got=source, allowed="hub:ID:CONFIG:SPLIT:COLUMN, such as hub:allenai/c4:en:train:text"
        )
    name, config, split, column = fields
    try:
        taken, total = list[str](), 0
        rows = load_dataset(name, config or None, split=split or "train", streaming=True)
        for row in _column(rows, column, f"the data set {name}"):
            taken.append(row)
            total += len(row)
            if total >= HUB_CHARACTERS:
                break
        return taken
    except (OSError, ValueError, ConnectionError) as error:
        raise SDSError(
            f"the data set {name} cannot be had: {first_line(error)}",
            cure="check its name and the network, or use self or a local file",
        ) from error


def _column(rows: Iterable[dict[str, Any]], column: str, where: str) -> Iterator[str]:
    """One column's texts without their line ends; an empty cell is an empty row."""
    for row in rows:
        if column not in row:
            raise SDSError(f"{where} has no column {column!r}", allowed=", ".join(row))
        text = "" if row[column] is None else row[column]
        if not isinstance(text, str):
            raise SDSError(f"column {column!r} of {where} holds no text", got=text)
        yield text.rstrip("\n")
