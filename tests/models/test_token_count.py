"""Tokens are counted in a process of its own, which a spoiled tokenizer may keep busy or end."""

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from sds_core.errors import SDSError
from sds_core.models import token_count
from sds_core.models.token_count import count_tokens


def test_tokens_are_counted_as_the_tokenizer_makes_them(tiny_folder: Path) -> None:
    text = "The model reads a text: ü."
    tokenizer = Tokenizer.from_file(str(tiny_folder / "tokenizer.json"))
    assert count_tokens(tiny_folder, text) == len(tokenizer.encode(text, add_special_tokens=False).ids)
    assert count_tokens(tiny_folder / "nowhere", text) is None


@pytest.mark.parametrize("words", [1, 100])
def test_saved_truncation_and_padding_change_no_count(tiny_folder: Path, tmp_path: Path, words: int) -> None:
    expected = count_tokens(tiny_folder, "model " * words)
    tokenizer = Tokenizer.from_file(str(tiny_folder / "tokenizer.json"))
    tokenizer.enable_truncation(32)
    tokenizer.enable_padding(length=32)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert count_tokens(tmp_path, "model " * words) == expected != 32


def test_a_tokenizer_that_does_not_end_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Finding no piece of a long word takes time that grows with the square of its length."""
    model = {"type": "WordPiece", "unk_token": "?", "continuing_subword_prefix": "", "vocab": {"?": 0}}
    written = {"version": "1.0", "model": model | {"max_input_chars_per_word": 10**9}, "added_tokens": []}
    (tmp_path / "tokenizer.json").write_text(json.dumps(written))
    assert count_tokens(tmp_path, "a") == 1
    monkeypatch.setattr(token_count, "LIMIT", 1)
    with pytest.raises(SDSError, match=r"has not read 1,000,000 characters within 1 s"):
        count_tokens(tmp_path, "a" * 10**6)


def test_tokenizer_that_fails_is_reported(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text('{"version": "1.0", "model": {"type": "nothing"}}')
    with pytest.raises(SDSError, match=f"the tokenizer in {tmp_path} fails: "):
        count_tokens(tmp_path, "a")
