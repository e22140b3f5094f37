"""Dataclasses to plain JSON values and back, checked against their type hints.

Stored values carry a checksum: a flipped bit may leave a valid number. It is of the values, not of the bytes, so that
files can be read by eye and laid out anew; values without one are taken as they are.
"""

import dataclasses
import json
import math
import re
import types
import zlib
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

from sds_core.files import parse_json, write_json
from sds_core.options import is_unicode

T = TypeVar("T")
CHECKSUM = "crc32"
"""The field of a stored object that holds the checksum of the others."""


class Within(NamedTuple):
    """Limits of a number, for a type hint such as `Annotated[int, Within(0, 9)]`."""

    low: float
    high: float


class Matching(NamedTuple):
    """The form of a text, for a type hint such as `Annotated[str, Matching("[0-9]+", "digits")]`."""

    pattern: str
    name: str


def to_json(value: Any) -> Any:
    """Return a dataclass, or values made of them, as plain JSON values; fields that are None are left out."""
    if dataclasses.is_dataclass(value):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {name: to_json(content) for name, content in fields.items() if content is not None}
    if isinstance(value, dict):
        return {key: to_json(content) for key, content in value.items()}
    if isinstance(value, tuple):
        return [to_json(item) for item in value]
    return str(value) if isinstance(value, Fraction) else value


def sealed(value: Any) -> dict[str, Any]:
    """Return a dataclass or an object as plain JSON values, with their checksum."""
    values = to_json(value)
    return {**values, CHECKSUM: _checksum(values)}


def write(path: Path, value: Any) -> None:
    """Write a dataclass or an object with its checksum, atomically; NaN and infinity are refused."""
    write_json(path, sealed(value))


def _checksum(values: dict[str, Any]) -> str:
    return f"{zlib.crc32(json.dumps(values, separators=(',', ':')).encode()):08x}"


def from_json(hint: type[T], value: object) -> T:
    """Return the inverse of `to_json`.

    Args:
        hint: the type to read: a dataclass whose fields are dataclasses, numbers, texts, truth values, fractions,
            literals, tuples of one type, dictionaries with text keys, or one of these and None; numbers and texts
            within limits where they are annotated with `Within` and `Matching`.
        value: plain JSON values.

    Raises:
        ValueError: a field is missing, unknown or of another type; it is named.
    """
    kind: Any = hint
    try:
        return _reader(kind)(value)
    except _WrongError as error:
        raise ValueError(error.message()) from None


def parse(hint: type[T], text: str | bytes) -> T:
    """Return what a JSON text holds, as `from_json` reads it."""
    return from_json(hint, load(text))


def load(text: str | bytes) -> object:
    """Return the plain values that a JSON text holds, without their checksum.

    Raises:
        ValueError: the text is not JSON, or its checksum is another one.
    """
    values = parse_json(text)
    if isinstance(values, dict) and CHECKSUM in values:
        stored = values.pop(CHECKSUM)
        if stored != _checksum(values):
            raise ValueError(f"its {CHECKSUM} does not fit: the disk is at fault, or somebody changed the rest")
    return values


class _WrongError(Exception):
    """A refused value; its path is assembled on the way up, so that valid values do not pay for it."""

    def __init__(self, why: str):
        self.why, self.path = why, ""

    def inside(self, step: str) -> "_WrongError":
        """Prepend a step to the path of the value."""
        self.path = step + self.path
        return self

    def message(self) -> str:
        return f"{self.path.removeprefix('.') or 'it'} {self.why}"


Reader = Callable[[Any], Any]


@cache
def _reader(hint: Any) -> Reader:
    """Return the function that reads values of a type."""
    if dataclasses.is_dataclass(hint):
        return _dataclass_reader(hint)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _limited_reader(_reader(arguments[0]), arguments[1])
    if origin in (Union, types.UnionType) and hint not in SCALARS:
        (inner,) = (_reader(argument) for argument in arguments if argument is not types.NoneType)
        return lambda value: None if value is None else inner(value)
    if origin is Literal:
        return lambda value: value if value in arguments else _refuse(f"one of {', '.join(map(str, arguments))}", value)
    if origin is tuple:
        return _list_reader(_reader(arguments[0]))
    if origin is dict:
        return _table_reader(_reader(arguments[0]), _reader(arguments[1]))
    return SCALARS[hint]


def _limited_reader(read: Reader, limits: Within | Matching) -> Reader:
    if isinstance(limits, Matching):
        return lambda value: value if re.fullmatch(limits.pattern, read(value)) else _refuse(limits.name, value)

    def within(value: Any) -> Any:
        number = read(value)
        if limits.low <= number <= limits.high:
            return number
        return _refuse(f"from {limits.low:g} to {limits.high:g}", value)

    return within


def _list_reader(read: Reader) -> Reader:
    def items(value: Any) -> Any:
        if not isinstance(value, list):
            _refuse("a list", value)
        found: list[Any] = []
        try:
            for item in value:
                found.append(read(item))
        except _WrongError as error:
            raise error.inside(f"[{len(found)}]") from None
        return tuple(found)

    return items


def _table_reader(read_key: Reader, read: Reader) -> Reader:
    def entries(value: Any) -> Any:
        if not isinstance(value, dict):
            _refuse("an object", value)
        found = {}
        for key, content in value.items():
            try:
                found[read_key(key)] = read(content)
            except _WrongError as error:
                raise error.inside(f".{key}") from None
        return found

    return entries


def _dataclass_reader(hint: Any) -> Reader:
    known = get_type_hints(hint, include_extras=True)
    fields = dataclasses.fields(hint)
    readers = {field.name: _reader(known[field.name]) for field in fields}
    required = [field.name for field in fields if field.default is field.default_factory is dataclasses.MISSING]

    def read(value: Any) -> Any:
        if not isinstance(value, dict):
            _refuse("an object", value)
        if unknown := sorted(value.keys() - readers.keys()):
            raise _WrongError("is not a known field").inside(f".{unknown[0]}")
        for name in required:
            if name not in value:
                raise _WrongError("is missing").inside(f".{name}")
        found = {}
        for name, content in value.items():
            try:
                found[name] = readers[name](content)
            except _WrongError as error:
                raise error.inside(f".{name}") from None
        return hint(**found)

    return read


def _refuse(expected: str, value: object) -> Any:
    raise _WrongError(f"is not {expected}: {str(value)[:60]!r}")


def _float(value: object) -> float:
    try:
        number = float(value) if isinstance(value, int | float) and type(value) is not bool else math.nan
    except OverflowError:
        number = math.inf
    return number if math.isfinite(number) else _refuse("a finite number", value)


def _exactly(kind: type, expected: str) -> Reader:
    return lambda value: value if type(value) is kind else _refuse(expected, value)


def _text(value: object) -> str:
    return value if type(value) is str and is_unicode(value) else _refuse("a text", value)


def _fraction(value: object) -> Fraction:
    if not isinstance(value, str) or not FRACTION.fullmatch(value):
        _refuse("a fraction", value)
    try:
        return Fraction(str(value))
    except ZeroDivisionError:
        return _refuse("a fraction", value)


FRACTION = re.compile(r"-?\d{1,400}(/\d{1,400})?")
"""As Python writes one; in other notations a few characters can mean a number of any length."""
SCALARS: dict[Any, Reader] = {
    bool: _exactly(bool, "true or false"),
    int: _exactly(int, "a whole number"),
    float: _float,
    bool | int | float: lambda value: value if type(value) in (bool, int) else _float(value),
    str: _text,
    Fraction: _fraction,
}
