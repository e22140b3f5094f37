"""Rows of files and hub data sets become one string, or a sentence that says what is wrong with them."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sds_core.errors import SDSError
from sds_core.models import text_reader
from sds_core.models.text_reader import read

ROWS = ["one\n", "", " two ä", "NA", 'with "quotes", and a comma']
EXPECTED = 'one\n\n\n\n two ä\n\nNA\n\nwith "quotes", and a comma'


def table(path: Path, column: str = "text", values: list[Any] | None = None) -> Path:
    """A table of two columns, in the kind that its name says."""
    frame = pd.DataFrame({"id": range(len(values or ROWS)), column: values or ROWS})
    match path.suffix:
        case ".jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in frame.to_dict("records")), encoding="utf-8")
        case ".csv":
            frame.to_csv(path, index=False)
        case ".parquet":
            frame.to_parquet(path)
    return path


KINDS = ["jsonl", "csv", "parquet"]


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_a_tables_column_are_joined_by_blank_lines(tmp_path: Path, kind: str) -> None:
    assert read(str(table(tmp_path / f"a.{kind}"))) == EXPECTED
    assert read(f"{table(tmp_path / f'b.{kind}', 'body of it')}:body of it") == EXPECTED


def test_names_with_signs_that_the_library_reads_as_patterns_are_names(tmp_path: Path) -> None:
    table(tmp_path / "ax.jsonl", values=["another"])
    assert read(str(table(tmp_path / "a[x].jsonl", values=["the right one"]))) == "the right one"
    assert read(str(table(tmp_path / "a*.jsonl", values=["this one"]))) == "this one"


def test_an_address_is_not_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.load_dataset", lambda *_, **__: pytest.fail("the library was asked"))
    for source in ("https://example.org/a.csv", "hf://datasets/a/b/c.parquet", "s3://a/b.jsonl:text"):
        with pytest.raises(SDSError, match="there is no such text file"):
            read(source)


def test_an_empty_cell_is_an_empty_row(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "one"}\n{"text": null}\n{"text": "two"}\n')
    assert read(str(path)) == "one\n\n\n\ntwo"


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_column_is_refused_with_those_there_are(tmp_path: Path, kind: str) -> None:
    with pytest.raises(SDSError, match="has no column 'body'; allowed: id, text"):
        read(f"{table(tmp_path / f'a.{kind}')}:body")


@pytest.mark.parametrize("kind", KINDS)
def test_a_column_of_numbers_is_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises(SDSError, match=r"column 'id' of the file .* holds no text"):
        read(f"{table(tmp_path / f'a.{kind}')}:id")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("content", [b"", b'text\n"\xff', b'{"text": "a"}\n{"text": '])
def test_a_spoiled_table_is_refused_in_a_sentence(tmp_path: Path, kind: str, content: bytes) -> None:
    path = tmp_path / f"a.{kind}"
    path.write_bytes(content)
    with pytest.raises(SDSError, match=rf"a\.{kind}") as caught:
        read(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("source", ["gone.txt", "gone.csv", "gone.jsonl:body", "~/gone.parquet:text"])
def test_a_missing_file_is_named(source: str) -> None:
    with pytest.raises(SDSError, match=f"there is no such text file: got '{source}'"):
        read(source)


@pytest.mark.parametrize("source", ["wikitext", "text.md", "a.csv/b", "folder:text", "a\0b.csv", "~no-such-user/a"])
def test_what_is_not_a_text_is_refused(source: str) -> None:
    with pytest.raises(SDSError):
        read(source)


def fake_hub(monkeypatch: pytest.MonkeyPatch, rows: Any) -> list[tuple]:
    """Data sets of the hub are `rows`; returns the calls that were made."""
    calls: list[tuple] = []

    def load_dataset(name: str, config: str | None, split: str, streaming: bool) -> list[dict[str, Any]]:
        calls.append((name, config, split, streaming))
        if isinstance(rows, Exception):
            raise rows
        return rows

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    return calls


def test_rows_of_a_hub_data_set_are_joined_by_blank_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = fake_hub(monkeypatch, [{"text": "one\n", "id": 1}, {"text": None, "id": 2}, {"text": " two", "id": 3}])
    assert read("hub:a/b:c:test:text") == "one\n\n\n\n two"
    read("hub:a/b:::text")
    assert calls == [("a/b", "c", "test", True), ("a/b", None, "train", True)]


def test_an_endless_hub_data_set_is_read_only_as_far_as_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    def endless():
        for _ in range(20):
            yield {"text": "word " * 10}
        pytest.fail("read on although there was enough")

    monkeypatch.setattr(text_reader, "HUB_CHARACTERS", 1000)
    fake_hub(monkeypatch, endless())
    assert read("hub:a/b:c:train:text") == "\n\n".join(["word " * 10] * 20)


def test_a_column_that_a_hub_data_set_lacks_is_refused_with_those_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_hub(monkeypatch, [{"content": "one", "id": 1}])
    with pytest.raises(SDSError, match="has no column 'text'; allowed: content, id"):
        read("hub:a/b:c:train:text")


@pytest.mark.parametrize("source", ["hub:", "hub:a/b", "hub:a/b:c:train", "hub::c:train:text", "hub:a:b:c:d:e"])
def test_a_hub_data_set_with_parts_missing_is_refused_with_an_example(source: str) -> None:
    with pytest.raises(SDSError, match=r"not a hub data set.*hub:allenai/c4"):
        read(source)


@pytest.mark.parametrize("error", [ConnectionError("no route"), OSError("no route"), ValueError("no route\nhere")])
def test_a_hub_data_set_out_of_reach_is_said_in_one_sentence(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    fake_hub(monkeypatch, error)
    with pytest.raises(SDSError, match=r"^the data set a/b cannot be had: no route\. Check its name"):
        read("hub:a/b:c:train:text")


def test_a_hub_error_without_a_message_is_said_too(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_hub(monkeypatch, ConnectionError())
    with pytest.raises(SDSError, match="cannot be had"):
        read("hub:a/b:c:train:text")


def test_a_hub_column_without_text_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_hub(monkeypatch, [{"text": 3}])
    with pytest.raises(SDSError, match="holds no text"):
        read("hub:a/b:c:train:text")
