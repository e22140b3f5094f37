"""A column of a table is read for certain, whatever stands beside it, or refused with its line."""

import json
from pathlib import Path

import pandas as pd
import pytest

from sds_core.errors import SDSError
from sds_core.models.tables import read_column
from sds_core.models.text_reader import read_text


def write(path: Path, content: str) -> Path:
    path.write_text(content, encoding="utf-8")
    return path


@pytest.mark.parametrize("ends", [",", ",,", ", ", ",\t"])
def test_empty_surplus_fields_do_not_shift_columns(tmp_path: Path, ends: str) -> None:
    path = write(tmp_path / "a.csv", f"text,label\nThe cat sat on the mat,pos{ends}\nA dog,neg{ends}\n")
    assert list(read_column(path, "text")) == ["The cat sat on the mat", "A dog"]
    assert list(read_column(path, "label")) == ["pos", "neg"]


@pytest.mark.parametrize("column", ["text", "label"])
def test_unquoted_comma_in_every_row_is_refused(tmp_path: Path, column: str) -> None:
    path = write(tmp_path / "a.csv", "text,label\nThe cat, sat,pos\nA dog, ran,neg\n")
    with pytest.raises(SDSError, match=r"line 2 of .*a\.csv has 3 fields, its header 2: got 'pos'.*double quotes"):
        list(read_column(path, column))


def test_surplus_empty_fields_in_some_rows_alone_are_refused(tmp_path: Path) -> None:
    shifted, sound = "The cat, it sat,pos,", "A dog,neg,"
    for rows, line in ([shifted, sound], 3), ([sound, shifted], 3):
        path = write(tmp_path / "a.csv", "\n".join(["text,label,note", *rows]) + "\n")
        with pytest.raises(SDSError, match=rf"line {line} of .* has \d fields, .*double quotes"):
            list(read_column(path, "text"))


def test_spaces_after_commas_are_ignored(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", '\n\nlabel, text\npos, The cat\nneg, "A dog, it ran"\n')
    assert list(read_column(path, "text")) == ["The cat", "A dog, it ran"]


@pytest.mark.parametrize("sign", ["\t", ";", "|"])
def test_other_signs_between_columns_are_reported(tmp_path: Path, sign: str) -> None:
    path = write(tmp_path / "a.csv", f"text{sign}label\nThe cat, it sat{sign}pos\n")
    with pytest.raises(SDSError, match="Separate its columns by commas"):
        list(read_column(path, "text"))


def test_file_without_names_of_columns_is_reported(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "The cat sat,pos\nA dog ran,neg\n")
    with pytest.raises(SDSError, match="Its first line must name the columns"):
        list(read_column(path, "text"))


@pytest.mark.parametrize(
    ("name", "row"), [("a.csv", "text,author\nThe cat,{}\n"), ("a.jsonl", '{{"text":"The cat","author":"{}"}}')]
)
def test_invalid_utf_8_matters_in_the_wanted_column_only(tmp_path: Path, name: str, row: str) -> None:
    path = tmp_path / name
    path.write_bytes(row.format("René").encode("latin-1"))
    assert read_text(f"{path}:text") == "The cat"
    with pytest.raises(SDSError, match=r"row 1 .* bytes that are not UTF-8"):
        read_text(f"{path}:author")
    path.write_bytes(row.format("René").encode("utf-16"))
    with pytest.raises(SDSError, match="it is in UTF-16"):
        read_text(f"{path}:text")


@pytest.mark.parametrize("column", [[None, None], ["", " \n"]], ids=["null", "blank"])
@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_column_without_any_text_is_refused(tmp_path: Path, kind: str, column: list) -> None:
    frame, path = pd.DataFrame({"text": column}), tmp_path / f"a.{kind}"
    frame.to_parquet(path) if kind == "parquet" else frame.to_json(path, orient="records", lines=True)
    with pytest.raises(SDSError, match=f"column 'text' of .*a.{kind} holds no text"):
        read_text(str(path))


def test_row_names_without_a_header_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text,label\n1,The cat,pos\n2,A dog,neg\n")
    with pytest.raises(SDSError, match=r"line 2 .* has 3 fields, its header 2"):
        list(read_column(path, "text"))


def test_surplus_field_in_a_late_row_names_its_line(tmp_path: Path) -> None:
    rows = "".join(f'"row, {i}\nin two lines",pos\n' for i in range(40))
    path = write(tmp_path / "a.csv", f"text,label\n{rows}The cat, sat,pos\n")
    with pytest.raises(SDSError, match=r"line 82 .* has 3 fields"):
        list(read_column(path, "text"))


def test_short_row_is_refused_where_it_lacks_the_column(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "label,text\npos,The cat\nsat on the mat\n")
    assert list(read_column(path, "label")) == ["pos", "sat on the mat"]
    with pytest.raises(SDSError, match=r"line 3 .* has no column 'text': got 'sat on the mat'"):
        list(read_column(path, "text"))


@pytest.mark.parametrize("content", ['text,label\n"The cat,pos\nA dog,neg\n', 'text,label\n"a" cat,pos\n'])
def test_stray_quote_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(ValueError, match="line"):
        list(read_column(write(tmp_path / "a.csv", content), "text"))


def test_repeated_column_name_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text,text\nThe cat,pos\n")
    with pytest.raises(SDSError, match="more than one column 'text'"):
        list(read_column(path, "text"))


def test_long_cell_is_read_whole(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", f"text\n{'word ' * 60_000}\n")
    assert [len(cell) for cell in read_column(path, "text")] == [300_000]


@pytest.mark.parametrize(
    "fault",
    [
        lambda i: {"url": "http://x" if i > 1294 else None},
        lambda i: {"id": "x7" if i == 1299 else i},
        lambda i: {"late": 1} if i == 1299 else {},
        lambda i: {"meta": {"a": [1]} if i % 2 else "plain"},
        lambda i: {"huge": 10**40 if i == 1299 else i},
    ],
    ids=["null until late", "type changes", "late field", "mixed types", "huge number"],
)
def test_other_fields_of_a_jsonl_do_not_matter(tmp_path: Path, fault) -> None:
    rows = [{"text": f"row {i}"} | fault(i) for i in range(1300)]
    path = write(tmp_path / "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    assert list(read_column(path, "text")) == [f"row {i}" for i in range(1300)]


def test_tabs_and_huge_numbers_do_not_matter(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", f'{{"text": "one\ttwo", "id": {"9" * 5000}}}\n')
    assert list(read_column(path, "text")) == ["one\ttwo"]


def test_wanted_field_may_appear_late(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"id": 1}\n\n{"id": 2, "text": "late"}\n')
    assert list(read_column(path, "text")) == [None, "late"]
    with pytest.raises(SDSError, match="has no column 'body'; allowed: id, text"):
        list(read_column(path, "body"))


@pytest.mark.parametrize("line", ['{"text": ', "[1]", '"text"', "text", "[" * 100_000])
def test_broken_jsonl_line_is_named(tmp_path: Path, line: str) -> None:
    path = write(tmp_path / "a.jsonl", '{"text": "one"}\n' + line + "\n")
    with pytest.raises(ValueError, match="line 2"):
        list(read_column(path, "text"))


def test_other_columns_of_a_parquet_file_are_not_read(tmp_path: Path) -> None:
    frame = pd.DataFrame({"id": range(3000), "text": [f"row {i}" for i in range(3000)]})
    frame.to_parquet(tmp_path / "a.parquet", compression=None)
    data = bytearray((tmp_path / "a.parquet").read_bytes())
    data[4:40] = bytes(36)  # the first pages, of the column `id`
    (tmp_path / "a.parquet").write_bytes(data)
    assert list(read_column(tmp_path / "a.parquet", "text")) == frame["text"].tolist()
    with pytest.raises((OSError, ValueError)):
        list(read_column(tmp_path / "a.parquet", "id"))


@pytest.mark.parametrize(("name", "content"), [("a.csv", "text\none\n"), ("a.jsonl", '{"text": "one"}\n')])
def test_byte_order_mark_is_no_text(tmp_path: Path, name: str, content: str) -> None:
    assert list(read_column(write(tmp_path / name, "\ufeff" + content), "text")) == ["one"]
