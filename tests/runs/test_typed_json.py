"""Dataclasses from JSON: what is missing, unknown or of another type is named."""

import json
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Literal

import pytest

from sds_core.runs.typed_json import Matching, Within, from_json, load, parse, sealed, to_json, write


@dataclass(frozen=True, kw_only=True)
class Part:
    name: str
    size: float = 0.5


@dataclass(frozen=True, kw_only=True)
class Whole:
    count: int
    ready: bool
    share: Fraction
    parts: tuple[Part, ...]
    by_kind: dict[Literal["a", "b"], float]
    extra: Part | None = None


WHOLE = Whole(
    count=3, ready=True, share=Fraction(1, 3), parts=(Part(name="x"), Part(name="y", size=2.0)), by_kind={"a": 1.5}
)
PLAIN = {
    "count": 3,
    "ready": True,
    "share": "1/3",
    "parts": [{"name": "x", "size": 0.5}, {"name": "y", "size": 2.0}],
    "by_kind": {"a": 1.5},
}


def test_values_survive_a_file():
    assert to_json(WHOLE) == PLAIN
    assert parse(Whole, json.dumps(PLAIN)) == WHOLE


def test_a_number_of_either_kind_keeps_its_kind_and_so_does_a_switch():
    read = [from_json(bool | int | float, value) for value in (2, 2.0, True)]
    assert read == [2, 2, True] and [type(one) for one in read] == [int, float, bool]
    with pytest.raises(ValueError, match="not a finite number"):
        from_json(bool | int | float, "2")


def test_a_whole_number_stands_for_a_float():
    size = from_json(Part, {"name": "x", "size": 2}).size
    assert size == 2.0 and isinstance(size, float)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"count": "3"}, "count is not a whole number: '3'"),
        ({"count": True}, "count is not a whole number"),
        ({"count": 3.0}, "count is not a whole number"),
        ({"ready": 1}, "ready is not true or false"),
        ({"share": "a third"}, "share is not a fraction: 'a third'"),
        ({"share": "1/0"}, "share is not a fraction"),
        ({"share": 0.3}, "share is not a fraction"),
        ({"parts": {}}, "parts is not a list"),
        ({"parts": [{"size": 1}]}, r"parts\[0\].name is missing"),
        ({"parts": [{"name": 1}]}, r"parts\[0\].name is not a text"),
        ({"by_kind": {"c": 1}}, "by_kind.c is not one of a, b: 'c'"),
        ({"by_kind": {"a": "much"}}, "by_kind.a is not a finite number: 'much'"),
        ({"by_kind": {"a": float("nan")}}, "by_kind.a is not a finite number"),
        ({"by_kind": {"a": 10**400}}, "by_kind.a is not a finite number"),
        ({"by_kind": []}, "by_kind is not an object"),
        ({"extra": 1}, "extra is not an object"),
        ({"more": 1}, "more is not a known field"),
    ],
)
def test_a_wrong_value_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        from_json(Whole, PLAIN | changes)


@pytest.mark.parametrize("text", ["", "1", "[]", "null", "{}", "[" * 100_000])
def test_other_texts_are_refused(text):
    with pytest.raises(ValueError):
        parse(Whole, text)


@dataclass(frozen=True)
class Limited:
    share: Annotated[float, Within(0, 1)] = 0.5
    word: Annotated[str, Matching(r"\w+", "a word")] = "a"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"share": 1.5}, "share is not from 0 to 1: '1.5'"),
        ({"share": -1}, "share is not from 0 to 1: '-1'"),
        ({"word": "../a"}, r"word is not a word: '../a'"),
        ({"word": "\ud800"}, "word is not a text"),
    ],
)
def test_limits_of_numbers_and_texts_are_checked(values, message):
    assert from_json(Limited, {"share": 1, "word": "b"}) == Limited(1.0, "b")
    with pytest.raises(ValueError, match=message):
        from_json(Limited, values)


@pytest.mark.parametrize("text", ["1e999999999", "1/0", "0x1", "1" * 401, "1_000"])
def test_fraction_that_takes_forever_or_is_none_is_refused(text):
    with pytest.raises(ValueError, match="is not a fraction"):
        from_json(Fraction, text)


def test_stored_value_survives_reformatting(tmp_path):
    write(tmp_path / "a.json", WHOLE)
    text = (tmp_path / "a.json").read_text()
    assert parse(Whole, text) == WHOLE and load(text) == PLAIN
    assert load(json.dumps(json.loads(text))) == PLAIN, "the checksum is of the values"
    assert load(json.dumps(PLAIN)) == PLAIN, "without one, values are taken as they are"


def test_no_flipped_bit_gives_other_values():
    stored = json.dumps(sealed(WHOLE)).encode()
    for place in range(len(stored)):
        for bit in range(8):
            flipped = stored[:place] + bytes([stored[place] ^ 1 << bit]) + stored[place + 1 :]
            try:
                assert parse(Whole, flipped) == WHOLE, flipped
            except ValueError:
                continue


def test_wrong_checksum_is_reported():
    with pytest.raises(ValueError, match="its crc32 does not fit"):
        load(json.dumps(sealed(WHOLE) | {"count": 4}))
