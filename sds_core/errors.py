"""Errors that a user can cause, each in one sentence: what is wrong, the value given, the values allowed, the cure."""

from collections.abc import Sequence
from typing import Any

LONGEST = 2000
"""Characters of a message: a path, a line or a list of columns in it can have any length."""


class SDSError(Exception):
    """An error that the user can cause and fix; programming errors are `assert`s instead.

    Args:
        what: the fault, as a short clause without a full stop.
        got: the offending value.
        allowed: what would have been accepted.
        cure: what to do about it, as a sentence without a full stop.
    """

    def __init__(self, what: str, *, got: Any = None, allowed: str | None = None, cure: str | None = None):
        self.what, self.got, self.allowed, self.cure = what, got, allowed, cure
        parts = [what.rstrip(".")]
        if got is not None:
            parts[0] += f": got {str(got)[:200]!r}"
        if allowed:
            parts[0] += f"; allowed: {allowed}"
        if cure:
            parts.append(cure[0].upper() + cure[1:])
        message = ". ".join(part.rstrip(".") for part in parts) + "."
        if len(message) > LONGEST:
            message = f"{message[: LONGEST // 2]} … {message[-LONGEST // 2 :]}"
        super().__init__(message.encode("utf-8", "backslashreplace").decode())  # lone surrogates cannot be printed


class Cancelled(SDSError):
    """The user asked the run to stop; what was finished before stays on disk."""


def raise_together(faults: Sequence[SDSError]) -> None:
    """Raise all faults as one error; do nothing without any."""
    if len(faults) == 1:
        raise faults[0]
    if faults:
        raise SDSError("; ".join(str(fault).rstrip(".") for fault in faults))


def is_fault_of_file(error: BaseException) -> bool:
    """Whether an error that a library raised on reading a file can be the file's fault.

    Libraries written in Rust panic with a `PanicException`, which is not an `Exception`.
    """
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


def first_line(error: BaseException) -> str:
    """Return the first line of a library's exception message, or the exception's type if it has none."""
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__
