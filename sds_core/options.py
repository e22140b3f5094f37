"""Options: fields of a dataclass that carry their documentation and limits.

Command-line flags, widgets and checks are made from them, so an option is declared in one place.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, TypeVar

from sds_core.errors import SDSError

Value = TypeVar("Value", bool, int, float, str)

Overrides = dict[str, Any]
"""Values of a run's options by name, unchecked: a preset, flags or the file of a run; under `options` its method's."""


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option, as its field declares it."""

    name: str
    default: bool | int | float | str
    doc: str
    low: float | None
    high: float | None
    choices: tuple[str, ...]
    several: bool

    @property
    def flag(self) -> str:
        """The command-line flag."""
        return "--" + self.name.replace("_", "-")

    @property
    def allowed(self) -> str:
        """The allowed values in words; empty where any value of its type is allowed."""
        if self.low is None:
            return ", ".join(self.choices)
        return f"{self.low:g} or more" if self.high is None else f"{self.low:g} to {self.high:.12g}"

    def fault(self, value: object) -> SDSError | None:
        """Return the error for a value; None if it is allowed."""
        kind, name = type(self.default), self.flag.removeprefix("--")
        if kind is bool:
            return None if type(value) is bool else SDSError(f"option {name} is yes or no", got=value)
        if self.choices and value not in self.choices:
            return SDSError(f"unknown value of option {name}", got=value, allowed=self.allowed)
        if kind is str:
            if type(value) is not str:
                return SDSError(f"option {name} is a text", got=value, allowed=self.allowed)
            return None if is_unicode(value) else SDSError(f"option {name} contains an invalid character")
        if self.low is None:
            return None
        if type(value) is not int and (kind is int or type(value) is not float):
            return SDSError(f"option {name} is a {'whole ' * (kind is int)}number", got=value, allowed=self.allowed)
        if not self.low <= value <= (float("inf") if self.high is None else self.high):
            return SDSError(f"option {name} out of range", got=value, allowed=self.allowed)
        return None


def option(
    default: Value,
    doc: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: Sequence[str] = (),
    several: bool = False,
) -> Value:
    """Declare a dataclass field as an option.

    Args:
        default: its default, which also determines its type.
        doc: its documentation; line breaks do not matter.
        low: least allowed value of a number.
        high: greatest allowed value of a number; None for no limit.
        choices: the allowed values of a text; none for any text.
        several: whether the command line takes several words, joined by spaces.
    """
    declared = {"doc": " ".join(doc.split()), "low": low, "high": high, "choices": tuple(choices), "several": several}
    field: Any = dataclasses.field(default=default, metadata={"option": declared})
    return field


def is_unicode(text: str) -> bool:
    """Whether a text can be stored: JSON escapes and file names can hold lone surrogates."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def printable(text: str) -> str:
    """Return a text with what would move a terminal's cursor, or cannot be printed, written as escapes."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def options_of(cls: type) -> Mapping[str, Option]:
    """The options of a dataclass by name, in the order of its fields; other fields are left out."""
    return _declared(cls)


@cache
def _declared(cls: Any) -> Mapping[str, Option]:
    assert dataclasses.is_dataclass(cls)
    declared: dict[str, Any] = {field.name: field for field in dataclasses.fields(cls)}
    return MappingProxyType(
        {
            name: Option(name=name, default=field.default, **field.metadata["option"])
            for name, field in declared.items()
            if "option" in field.metadata
        }
    )


def faults(instance: Any) -> Iterator[SDSError]:
    """Yield an error for every option of a dataclass instance whose value is not allowed."""
    for name, declared in options_of(type(instance)).items():
        if fault := declared.fault(getattr(instance, name)):
            yield fault
