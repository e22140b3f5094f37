"""Encode texts as token ids within a time limit: a corrupt tokenizer may never return."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, TypeVar

from sds_core.errors import SDSError, first_line, is_fault_of_file

if TYPE_CHECKING:
    from sds_core.models.load import LoadedModel

T = TypeVar("T")
PATIENCE = 120
"""Seconds for any text."""
SLOWEST = 1000
"""Minimum speed of a sound tokenizer on a busy machine, characters per second; most reach a million."""
CURE = "download or save the model again"


def encode(loaded: LoadedModel, text: str, special: bool = False) -> list[int]:
    """Return the token ids of a text, with the special tokens around it if wanted.

    Raises:
        SDSError: the tokenizer fails, or does not return.
    """
    limit = PATIENCE + len(text) / SLOWEST
    read = lambda: list(loaded.tokenizer(text, add_special_tokens=special, verbose=False).input_ids)
    try:
        return _within(limit, read)
    except TimeoutError:
        what = f"the tokenizer of {loaded.name} has not read {len(text):,} characters within {limit:.0f} s"
        raise SDSError(what, cure=CURE) from None
    except BaseException as error:  # a corrupt tokenizer can make the library raise anything
        if not is_fault_of_file(error):
            raise
        raise SDSError(f"the tokenizer of {loaded.name} fails: {first_line(error)}", cure=CURE) from error


def _within(seconds: float, do: Callable[[], T]) -> T:
    """Return the result of a function that may not return.

    The library cannot be interrupted, but lets other threads work: if it does not return, its thread runs on until the
    process ends.

    Raises:
        TimeoutError: it has not come to an end.
    """
    ended = SimpleQueue[tuple[T | None, BaseException | None]]()

    def work() -> None:
        try:
            ended.put((do(), None))
        except BaseException as error:  # noqa: BLE001, raised where it is waited for
            ended.put((None, error))

    threading.Thread(target=work, daemon=True).start()
    try:
        found, error = ended.get(timeout=seconds)
    except Empty:
        raise TimeoutError from None
    if error is not None:
        raise error
    return found  # type: ignore[return-value]
