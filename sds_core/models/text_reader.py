"""Read a source as one string: the lines of a file, a column of a table, or a column of a hub dataset."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from sds_core.errors import SDSError, first_line
from sds_core.files import refuse_pointer, user_path
from sds_core.models import hub_data_sets
from sds_core.models.tables import read_column
from sds_core.models.text_spec import ALLOWED, PYTHON_DOCS, TABLES, file_and_column
from sds_core.options import is_unicode

HUB_CHARACTERS = 20_000_000
"""A hub dataset is streamed up to this length; C4 has no end. Local files are read whole."""


def read_text(source: str, rows: str = "stripped") -> str:
    """Return a source as one string; blank lines join its rows.

    Args:
        source: its name.
        rows: stripped of their line ends, or whole. As data sets of texts have it, a line of a file ends with a newline
            that belongs to its row, and a blank line is an empty row.

    Raises:
        SDSError: it is unknown, out of reach, or holds no text.
    """
    if source == PYTHON_DOCS:
        from pydoc_data.topics import topics

        return "\n\n".join(topics[name].strip() for name in sorted(topics))
    if source.startswith("hub:"):
        return "\n\n".join(_cut(_hub_texts(source), rows))
    name, column = file_and_column(source)
    path = Path(os.path.expanduser(name))
    if path.suffix not in (".txt", *TABLES):
        raise SDSError("unknown text", got=source, allowed=ALLOWED)
    try:
        if path.exists() and not path.is_file():  # reading a pipe would never end
            raise SDSError("this is not a file", got=source)
        refuse_pointer(path)
        if path.suffix == ".txt":
            lines = path.read_text(encoding="utf-8-sig").removesuffix("\n").split("\n")
            return "\n\n".join(lines if rows == "stripped" else (f"{line}\n" if line.strip() else "" for line in lines))
        return "\n\n".join(_cut(_texts(read_column(path, column), column, f"the file {path}"), rows))
    except FileNotFoundError:
        raise SDSError("there is no such text file", got=source) from None
    except (OSError, ValueError) as error:  # a ValueError: not UTF-8, not a table, or a zero byte in the name
        wanted = "a file in UTF-8" if path.suffix == ".txt" else f"a sound {path.suffix} file, its text in UTF-8"
        wanted += ", one JSON object a line" * (path.suffix == ".jsonl")
        raise SDSError(f"the text file {path} cannot be read: {first_line(error)}", allowed=wanted) from error


def _hub_texts(source: str) -> list[str]:
    """The rows of a hub dataset's column, streamed up to `HUB_CHARACTERS`."""
    from datasets.exceptions import DatasetsError
    from huggingface_hub.errors import HTTPError

    fields = source.split(":")[1:]
    if len(fields) != 4 or not fields[0]:
        raise SDSError(
            "not a hub dataset", got=source, allowed="hub:ID:CONFIG:SPLIT:COLUMN, such as hub:allenai/c4:en:train:text"
        )
    name, config, split, column = fields
    if user_path(name).exists():  # the library would read it, whatever the hub has of that name
        raise SDSError(
            "this names a folder here, not a dataset of the hub", got=name, cure="name its file: FILE:COLUMN"
        )
    try:
        texts, total = list[str](), 0
        rows = hub_data_sets.rows(name, config, split)
        for text in _texts(_cells(rows, column, f"the dataset {name}"), column, f"the dataset {name}"):
            texts.append(text)
            total += len(text)
            if total >= HUB_CHARACTERS:
                break
        return texts
    # A TypeError: columns that change their type. A RuntimeError: a script, which newer versions do not run.
    except (OSError, ValueError, TypeError, RuntimeError, HTTPError, DatasetsError) as error:
        scripted = isinstance(error, RuntimeError) and "scripts are no longer supported" in str(error)
        cure = "check its name and the network, or use self or a local file"
        raise SDSError(
            f"the dataset {name} cannot be read: {first_line(error)}",
            cure="take a copy of it in Parquet" if scripted else cure,
        ) from error


def _cells(rows: Iterable[dict[str, Any]], column: str, where: str) -> Iterator[Any]:
    for row in rows:
        if column not in row:
            raise SDSError(f"{where} has no column {column!r}", allowed=", ".join(row))
        yield row[column]


def _texts(cells: Iterable[Any], column: str, where: str) -> Iterator[str]:
    """A column's texts; an empty cell is an empty row."""
    blank = True
    for number, cell in enumerate(cells, start=1):
        text = "" if cell is None else cell
        if not isinstance(text, str):
            raise SDSError(f"column {column!r} of {where} holds no text", got=text)
        if not is_unicode(text):
            what = f"row {number} of {where} holds half a character, or bytes that are not UTF-8"
            raise SDSError(what, cure="save it as UTF-8, or remove that row")
        blank = blank and not text.strip()
        yield text
    if blank:
        raise SDSError(f"column {column!r} of {where} holds no text")


def _cut(texts: Iterable[str], rows: str) -> Iterator[str]:
    """Rows without their line ends, unless they are to be whole."""
    yield from (text.rstrip("\n") if rows == "stripped" else text for text in texts)
