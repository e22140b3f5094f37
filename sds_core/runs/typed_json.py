"""Dataclasses to plain JSON values and back, checked against their type hints."""

import dataclasses
import math
import re
import types
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

from sds_core.files import parse_json
from sds_core.options import is_unicode

T = TypeVar("T")


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
    return _read(hint, value, "")


def parse(hint: type[T], text: str | bytes) -> T:
    """Return what a JSON text holds, as `from_json` reads it."""
    return from_json(hint, load(text))


def load(text: str | bytes) -> object:
    """Return the plain values that a JSON text holds.

    Raises:
        ValueError: the text is not JSON.
    """
    return parse_json(text)


def _read(hint: Any, value: Any, path: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return _read_dataclass(hint, value, path)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        if isinstance(arguments[1], Matching):
            text, form = _read(arguments[0], value, path), arguments[1]
            return text if re.fullmatch(form.pattern, text) else _refuse(path, form.name, value)
        number, limits = _read(arguments[0], value, path), arguments[1]
        inside = limits.low <= number <= limits.high
        return number if inside else _refuse(path, f"from {limits.low:g} to {limits.high:g}", value)
    if origin in (Union, types.UnionType) and hint not in SCALARS:
        (inner,) = (argument for argument in arguments if argument is not types.NoneType)
        return None if value is None else _read(inner, value, path)
    if origin is Literal:
        return value if value in arguments else _refuse(path, f"one of {', '.join(map(str, arguments))}", value)
    if origin is tuple:
        if not isinstance(value, list):
            _refuse(path, "a list", value)
        return tuple(_read(arguments[0], item, f"{path}[{i}]") for i, item in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            _refuse(path, "an object", value)
        return {_read(arguments[0], k, f"{path}.{k}"): _read(arguments[1], v, f"{path}.{k}") for k, v in value.items()}
    return SCALARS[hint](path, value)


def _read_dataclass(hint: Any, value: Any, path: str) -> Any:
    if not isinstance(value, dict):
        _refuse(path, "an object", value)
    hints = _hints(hint)
    if unknown := sorted(value.keys() - hints.keys()):
        raise ValueError(f"{'.'.join(filter(None, [path, unknown[0]]))} is not a known field")
    for field in dataclasses.fields(hint):
        required = field.default is field.default_factory is dataclasses.MISSING
        if required and field.name not in value:
            raise ValueError(f"{'.'.join(filter(None, [path, field.name]))} is missing")
    return hint(**{name: _read(hints[name], v, f"{path}.{name}".lstrip(".")) for name, v in value.items()})


@cache
def _hints(hint: type) -> dict[str, Any]:
    known = get_type_hints(hint, include_extras=True)
    return {field.name: known[field.name] for field in dataclasses.fields(hint)}


def _refuse(path: str, expected: str, value: object) -> Any:
    raise ValueError(f"{path or 'it'} is not {expected}: {str(value)[:60]!r}")


def _float(path: str, value: object) -> float:
    try:
        number = float(value) if isinstance(value, int | float) and type(value) is not bool else math.nan
    except OverflowError:
        number = math.inf
    return number if math.isfinite(number) else _refuse(path, "a finite number", value)


def _exactly(kind: type, expected: str) -> Callable[[str, object], object]:
    return lambda path, value: value if type(value) is kind else _refuse(path, expected, value)


def _text(path: str, value: object) -> str:
    return value if type(value) is str and is_unicode(value) else _refuse(path, "a text", value)


def _fraction(path: str, value: object) -> Fraction:
    if not isinstance(value, str) or not FRACTION.fullmatch(value):
        _refuse(path, "a fraction", value)
    try:
        return Fraction(str(value))
    except ZeroDivisionError:
        return _refuse(path, "a fraction", value)


FRACTION = re.compile(r"-?\d{1,400}(/\d{1,400})?")
"""As Python writes one; in other notations a few characters can mean a number of any length."""
SCALARS: dict[Any, Callable[[str, object], object]] = {
    bool: _exactly(bool, "true or false"),
    int: _exactly(int, "a whole number"),
    float: _float,
    int | float: lambda path, value: value if type(value) is int else _float(path, value),
    str: _text,
    Fraction: _fraction,
}
