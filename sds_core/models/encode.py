"""Encode texts as token ids, within the memory that is free and a time limit: a corrupt tokenizer may never return."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, TypeVar

from sds_core.errors import SDSError, first_line, is_fault_of_file
from sds_core.models.free_memory import free_memory

if TYPE_CHECKING:
    from sds_core.models.load import LoadedModel

T = TypeVar("T")
PATIENCE = 120
"""Seconds for any text."""
SLOWEST = 1000
"""Minimum speed of a sound tokenizer on a busy machine, characters per second; most reach a million."""
CURE = "download or save the model again"
PER_BYTE, PER_TOKEN = 85, 300
"""Memory that tokenizing takes: bytes for each byte of a text in UTF-8, and for each of its tokens.

Measured on English, Chinese and blanks with vocabularies of 288 and 49,152 tokens: more than any of them took.
"""
LONG = 1_000_000
"""Characters of a text whose need of memory is estimated first; that of a shorter one is at most 1.5 GB."""
SAMPLES, SAMPLE = 100, 1000
"""How many pieces of a long text are tokenized for the estimate, and their length in characters."""


def encode(loaded: LoadedModel, text: str, special: bool = False) -> list[int]:
    """Return the token ids of a text, with the special tokens around it if wanted.

    Raises:
        SDSError: the tokenizer fails, or does not return, or the text is too long for the memory that is free.
    """
    if len(text) > LONG:
        _refuse_beyond_memory(loaded, text)
    return _encode(loaded, text, special)


def _refuse_beyond_memory(loaded: LoadedModel, text: str) -> None:
    """Refuse a text whose tokens would fill memory: the system would end the process, after hours."""
    sample = "".join(text[start : start + SAMPLE] for start in range(0, len(text), len(text) // SAMPLES))
    size = PER_BYTE * len(sample.encode("utf-8", "surrogatepass")) + PER_TOKEN * len(_encode(loaded, sample, False))
    needed, available = size * len(text) // len(sample), free_memory()
    if needed > available:
        raise SDSError(
            f"tokenizing a text of {len(text):,} characters needs {needed >> 20:,} MB of memory, "
            f"{available >> 20:,} MB are available",
            allowed=f"about {len(text) * available // needed:,} characters",
            cure="save a part of it as a file of its own; a range such as @0-5% is cut after all of it is tokenized",
        )


def _encode(loaded: LoadedModel, text: str, special: bool) -> list[int]:
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
