"""The name of a text, or of a part of one, is read exactly or refused."""

import pytest
import torch

from sds_core.errors import SDSError
from sds_core.models.source import Part


@pytest.mark.parametrize(
    ("written", "part"),
    [
        ("self", Part("self")),
        ("  python-docs ", Part("python-docs")),
        ("a.txt@0-50%", Part("a.txt", 0, 50, True)),
        ("a.txt@50-100%", Part("a.txt", 50, 100, True)),
        ("a.txt@128-40960", Part("a.txt", 128, 40960, False)),
        ("hub:allenai/c4:en:train:text@0-1000", Part("hub:allenai/c4:en:train:text", 0, 1000, False)),
        ("me@home.txt", Part("me@home.txt")),
        ("me@home.txt@1-2%", Part("me@home.txt", 1, 2, True)),
        ("two\nlines.txt@1-2", Part("two\nlines.txt", 1, 2, False)),
    ],
)
def test_a_text_and_its_part_are_read(written: str, part: Part) -> None:
    assert Part.parse(written) == part


@pytest.mark.parametrize("written", ["a.txt@5-5", "a.txt@9-3", "a.txt@50-101%", "a.txt@70-30%"])
def test_an_impossible_part_is_refused(written: str) -> None:
    with pytest.raises(SDSError, match=r"not a part of a text.*allowed"):
        Part.parse(written)


@pytest.mark.parametrize("written", ["", "   "])
def test_no_text_is_refused_with_the_ones_there_are(written: str) -> None:
    with pytest.raises(SDSError, match=r"no text was named.*python-docs"):
        Part.parse(written)


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (Part("x"), range(0, 10)),
        (Part("x", 0, 50, True), range(0, 5)),
        (Part("x", 50, 100, True), range(5, 10)),
        (Part("x", 33, 67, True), range(3, 6)),
        (Part("x", 2, 7), range(2, 7)),
    ],
)
def test_parts_are_shares_or_counts_of_tokens(part: Part, expected: range) -> None:
    assert part.cut(torch.arange(10)).tolist() == list(expected)


def test_two_halves_make_the_whole_without_overlap() -> None:
    tokens = torch.arange(101)
    halves = [Part("x", 0, 50, True).cut(tokens), Part("x", 50, 100, True).cut(tokens)]
    assert torch.equal(torch.cat(halves), tokens)


def test_a_part_beyond_the_end_is_refused_with_the_length() -> None:
    with pytest.raises(SDSError, match=r"no token 99.*10 tokens"):
        Part("x", 8, 99).cut(torch.arange(10))
