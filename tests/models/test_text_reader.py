"""Rows of files and hub datasets become one string, or a sentence that says what is wrong with them."""

import json
import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from huggingface_hub.errors import HTTPError

from sds_core.errors import SDSError
from sds_core.models import hub_data_sets, text_reader
from sds_core.models.text_reader import read_text

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
def test_table_rows_are_joined_by_blank_lines(tmp_path: Path, kind: str) -> None:
    assert read_text(str(table(tmp_path / f"a.{kind}"))) == EXPECTED
    assert read_text(f"{table(tmp_path / f'b.{kind}', 'body of it')}:body of it") == EXPECTED


def test_pattern_characters_in_file_names_are_literal(tmp_path: Path) -> None:
    table(tmp_path / "ax.jsonl", values=["another"])
    assert read_text(str(table(tmp_path / "a[x].jsonl", values=["the right one"]))) == "the right one"
    assert read_text(str(table(tmp_path / "a*.jsonl", values=["this one"]))) == "this one"


def test_an_address_is_not_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.load_dataset", lambda *_, **__: pytest.fail("the library was asked"))
    for source in ("https://example.org/a.csv", "hf://datasets/a/b/c.parquet", "s3://a/b.jsonl:text"):
        with pytest.raises(SDSError, match="there is no such text file"):
            read_text(source)


def test_an_empty_cell_is_an_empty_row(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "one"}\n{"text": null}\n{"text": "two"}\n')
    assert read_text(str(path)) == "one\n\n\n\ntwo"


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_column_is_refused_with_those_there_are(tmp_path: Path, kind: str) -> None:
    with pytest.raises(SDSError, match="has no column 'body'; allowed: id, text"):
        read_text(f"{table(tmp_path / f'a.{kind}')}:body")


@pytest.mark.parametrize("kind", KINDS)
def test_a_column_of_numbers_is_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises(SDSError, match=r"column 'id' of the file .* holds no text"):
        read_text(f"{table(tmp_path / f'a.{kind}')}:id")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("content", [b"", b'text\n"\xff', b'{"text": "a"}\n{"text": '])
def test_spoiled_table_is_refused(tmp_path: Path, kind: str, content: bytes) -> None:
    path = tmp_path / f"a.{kind}"
    path.write_bytes(content)
    with pytest.raises(SDSError, match=rf"a\.{kind}") as caught:
        read_text(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("source", ["gone.txt", "gone.csv", "gone.jsonl:body", "~/gone.parquet:text"])
def test_a_missing_file_is_named(source: str) -> None:
    with pytest.raises(SDSError, match=f"there is no such text file: got '{source}'"):
        read_text(source)


@pytest.mark.parametrize("source", ["wikitext", "text.md", "a.csv/b", "folder:text", "~no-such-user/a"])
def test_what_is_not_a_text_is_refused(source: str) -> None:
    with pytest.raises(SDSError, match=f"unknown text: got '{source}'; allowed: self, python-docs"):
        read_text(source)


def test_a_name_that_no_file_can_have_is_refused() -> None:
    with pytest.raises(SDSError, match="cannot be read: embedded null byte"):
        read_text("a\0b.csv")


def test_byte_order_mark_of_a_text_file_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo\n")
    assert read_text(str(tmp_path / "a.txt")) == "one\n\ntwo"


def test_half_a_character_is_refused_with_its_row(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n{"text": "two \\ud83d"}\n')
    with pytest.raises(SDSError, match=r"row 2 of the file .*a\.jsonl holds half a character"):
        read_text(str(tmp_path / "a.jsonl"))


def fake_hub(monkeypatch: pytest.MonkeyPatch, rows: Any) -> list[tuple]:
    """Datasets of the hub are `rows`; returns the calls that were made."""
    calls: list[tuple] = []

    def load_dataset(name: str, config: str | None, split: str, streaming: bool) -> list[dict[str, Any]]:
        calls.append((name, config, split, streaming))
        if isinstance(rows, Exception):
            raise rows
        return rows

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    monkeypatch.setattr(hub_data_sets, "hub_reachable", lambda: True)
    return calls


def test_hub_rows_are_joined_by_blank_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = fake_hub(monkeypatch, [{"text": "one\n", "id": 1}, {"text": None, "id": 2}, {"text": " two", "id": 3}])
    assert read_text("hub:a/b:c:test:text") == "one\n\n\n\n two"
    read_text("hub:a/b:::text")
    assert calls == [("a/b", "c", "test", True), ("a/b", None, "train", True)]


def test_endless_hub_dataset_is_read_as_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    def endless():
        for _ in range(20):
            yield {"text": "word " * 10}
        pytest.fail("read on although there was enough")

    monkeypatch.setattr(text_reader, "HUB_CHARACTERS", 1000)
    fake_hub(monkeypatch, endless())
    assert read_text("hub:a/b:c:train:text") == "\n\n".join(["word " * 10] * 20)


def test_missing_hub_column_is_refused_with_existing_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_hub(monkeypatch, [{"content": "one", "id": 1}])
    with pytest.raises(SDSError, match="has no column 'text'; allowed: content, id"):
        read_text("hub:a/b:c:train:text")


@pytest.mark.parametrize("source", ["hub:", "hub:a/b", "hub:a/b:c:train", "hub::c:train:text", "hub:a:b:c:d:e"])
def test_incomplete_hub_name_is_refused_with_an_example(source: str) -> None:
    with pytest.raises(SDSError, match=r"not a hub dataset.*hub:allenai/c4"):
        read_text(source)


@pytest.mark.parametrize(
    "error", [ConnectionError("no route"), OSError("no route"), ValueError("no route\nhere"), TypeError("no route")]
)
def test_unreachable_hub_dataset_is_one_sentence(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    fake_hub(monkeypatch, error)
    with pytest.raises(SDSError, match=r"^the dataset a/b cannot be read: no route\. Check its name"):
        read_text("hub:a/b:c:train:text")


@pytest.mark.parametrize(
    ("error", "cure"),
    [
        (RuntimeError("Dataset scripts are no longer supported, but found b.py"), "Take a copy of it in Parquet"),
        (HTTPError("peer closed connection"), "Check its name and the network"),
    ],
)
def test_a_dataset_that_is_a_script_or_breaks_off_has_its_cure(
    monkeypatch: pytest.MonkeyPatch, error: Exception, cure: str
) -> None:
    fake_hub(monkeypatch, error)
    with pytest.raises(SDSError, match=f"the dataset a/b cannot be read: {error}. {cure}"):
        read_text("hub:a/b:c:train:text")


def test_hub_error_without_a_message_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_hub(monkeypatch, ConnectionError())
    with pytest.raises(SDSError, match="cannot be read"):
        read_text("hub:a/b:c:train:text")


def test_a_hub_column_without_text_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_hub(monkeypatch, [{"text": 3}])
    with pytest.raises(SDSError, match="holds no text"):
        read_text("hub:a/b:c:train:text")


@pytest.mark.parametrize("name", ["x.txt", "x.csv:text", "x.jsonl", "x.parquet"])
def test_a_pipe_is_refused_for_reading_it_would_never_end(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name.partition(":")[0])
    with pytest.raises(SDSError, match="this is not a file"):
        read_text(str(tmp_path / name))
