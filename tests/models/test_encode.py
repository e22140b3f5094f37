"""A tokenizer that computes without end, and a text that memory cannot hold, end in a sentence."""

import threading
from types import SimpleNamespace

import pytest

from sds_core.errors import SDSError
from sds_core.models import encode


def with_tokenizer(tokenizer):
    return SimpleNamespace(name="spoiled", tokenizer=tokenizer)


def test_tokenizer_without_end_is_reported(monkeypatch):
    monkeypatch.setattr(encode, "PATIENCE", 0.05)
    freed = threading.Event()
    with pytest.raises(SDSError, match="the tokenizer of spoiled has not read 1 characters within 0 s"):
        encode.encode(with_tokenizer(lambda *_, **__: freed.wait(60)), "a")
    freed.set()


def test_the_time_grows_with_the_text(monkeypatch):
    monkeypatch.setattr(encode, "PATIENCE", 0)
    late = lambda text, **_: threading.Event().wait(0.1) or SimpleNamespace(input_ids=[len(text)])
    assert encode.encode(with_tokenizer(late), "a" * 5000) == [5000]
    with pytest.raises(SDSError, match="has not read"):
        encode.encode(with_tokenizer(late), "a")


def test_a_text_beyond_memory_is_refused_before_it_is_tokenized(monkeypatch):
    """One token a character: 85 bytes and 300 for each of 3,000,000."""
    read = []
    loaded = with_tokenizer(lambda text, **_: read.append(len(text)) or SimpleNamespace(input_ids=[7] * len(text)))
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=385 << 20))
    with pytest.raises(SDSError, match=r"3,000,000 characters needs 1,101 MB .* 385 MB .* allowed: about 1,048,576 ch"):
        encode.encode(loaded, "a" * 3_000_000)
    assert sum(read) <= 100_000
    assert len(encode.encode(loaded, "a" * 1_048_000)) == 1_048_000


def test_library_errors_are_reported_interrupts_raised():
    def fails(*_, **__):
        raise ValueError("no vocabulary")

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with pytest.raises(SDSError, match="the tokenizer of spoiled fails: no vocabulary"):
        encode.encode(with_tokenizer(fails), "a")
    with pytest.raises(KeyboardInterrupt):
        encode.encode(with_tokenizer(interrupted), "a")
