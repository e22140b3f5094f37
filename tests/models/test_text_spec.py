"""The name of a text, or of a part of one, is read exactly or refused."""

import pytest
import torch

from sds_core.errors import SDSError
from sds_core.models.text_spec import TextPart, TextSpec, disjoint


@pytest.mark.parametrize(
    ("written", "part"),
    [
        ("self", TextPart("self")),
        ("  python-docs ", TextPart("python-docs")),
        ("a.txt@0-50%", TextPart("a.txt", 0, 50, True)),
        ("a.txt@50-100%", TextPart("a.txt", 50, 100, True)),
        ("a.txt@128-40960", TextPart("a.txt", 128, 40960, False)),
        ("hub:allenai/c4:en:train:text@0-1000", TextPart("hub:allenai/c4:en:train:text", 0, 1000, False)),
        ("me@home.txt", TextPart("me@home.txt")),
        ("me@home.txt@1-2%", TextPart("me@home.txt", 1, 2, True)),
        ("two\nlines.txt@1-2", TextPart("two\nlines.txt", 1, 2, False)),
    ],
)
def test_a_text_and_its_part_are_read(written: str, part: TextPart) -> None:
    assert TextPart.parse(written) == part


@pytest.mark.parametrize("written", ["a.txt@5-5", "a.txt@9-3", "a.txt@50-101%", "a.txt@70-30%"])
def test_an_impossible_part_is_refused(written: str) -> None:
    with pytest.raises(SDSError, match=r"not a part of a text.*allowed"):
        TextPart.parse(written)


@pytest.mark.parametrize("written", ["", "   "])
def test_no_text_is_refused_with_the_ones_there_are(written: str) -> None:
    with pytest.raises(SDSError, match=r"no text was named.*python-docs"):
        TextPart.parse(written)


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (TextPart("x"), range(0, 10)),
        (TextPart("x", 0, 50, True), range(0, 5)),
        (TextPart("x", 50, 100, True), range(5, 10)),
        (TextPart("x", 33, 67, True), range(3, 6)),
        (TextPart("x", 2, 7), range(2, 7)),
    ],
)
def test_parts_are_shares_or_counts_of_tokens(part: TextPart, expected: range) -> None:
    assert part.cut(torch.arange(10)).tolist() == list(expected)


def test_two_halves_make_the_whole_without_overlap() -> None:
    tokens = torch.arange(101)
    halves = [TextPart("x", 0, 50, True).cut(tokens), TextPart("x", 50, 100, True).cut(tokens)]
    assert torch.equal(torch.cat(halves), tokens)


def test_part_beyond_the_end_is_refused() -> None:
    with pytest.raises(SDSError, match=r"no token 99.*10 tokens"):
        TextPart("x", 8, 99).cut(torch.arange(10))


@pytest.mark.parametrize("written", ["self", "a.txt@0-50%", "a.txt@128-40960", "hub:a/b:c:train:text@0-9"])
def test_a_part_is_written_as_it_is_read(written: str) -> None:
    assert str(TextPart.parse(written)) == written


def test_a_mixture_is_read_and_written() -> None:
    spec = TextSpec.parse(" self*2 + news.jsonl:body@0-50% + a*b.txt*10")
    assert spec.parts == (TextPart("self"), TextPart("news.jsonl:body", 0, 50, True), TextPart("a*b.txt"))
    assert spec.weights == (2, 1, 10)
    assert str(spec) == "self*2+news.jsonl:body@0-50%+a*b.txt*10"
    assert TextSpec.parse(str(spec)) == spec


@pytest.mark.parametrize(
    ("written", "sources", "weights"),
    [
        ("R+D.txt", ["R+D.txt"], (1,)),
        ("notes/C++/a.txt", ["notes/C++/a.txt"], (1,)),
        ("C++.txt*2+self", ["C++.txt", "self"], (2, 1)),
        ("self+/data/R+D/b.csv:the text*3", ["self", "/data/R+D/b.csv:the text"], (1, 3)),
        ("Jack+Jill.txt@0-50%+python-docs", ["Jack+Jill.txt", "python-docs"], (1, 1)),
        ("a.csv:x+y", ["a.csv:x+y"], (1,)),
        ("hub:a/b:c:train:x+y", ["hub:a/b:c:train:x+y"], (1,)),
        ("2*3/a@5-6/b.txt", ["2*3/a@5-6/b.txt"], (1,)),
        ("a+b.txt+c+d.txt*2", ["a+b.txt", "c+d.txt"], (1, 2)),
    ],
)
def test_signs_of_the_grammar_may_stand_in_paths(written: str, sources: list[str], weights: tuple[int, ...]) -> None:
    spec = TextSpec.parse(written)
    assert [part.source for part in spec.parts] == sources and spec.weights == weights
    assert TextSpec.parse(str(spec)) == spec


@pytest.mark.parametrize("written", ["self+", "+self", "self++a.txt", "self*0+a.txt", "self*0", "*2+self"])
def test_a_malformed_mixture_is_refused(written: str) -> None:
    with pytest.raises(SDSError, match=r"not a mixture of texts.*SOURCE\*WEIGHT"):
        TextSpec.parse(written)


@pytest.mark.parametrize("written", ["a.txt+a.txt", "a.txt*2+./a.txt@0-50%", "a.csv+a.csv:text", "self+a.txt+self"])
def test_a_mixture_of_one_text_twice_is_refused(written: str) -> None:
    with pytest.raises(SDSError, match=r"a mixture names .* twice"):
        TextSpec.parse(written)
    TextSpec.parse("a.txt@0-50%+a.txt@50-100%*2")


@pytest.mark.parametrize(
    ("weights", "windows", "expected"),
    [
        ((1,), 7, [7]),
        ((2, 1), 9, [6, 3]),
        ((2, 1), 16, [11, 5]),  # exact shares 10⅔ and 5⅓: the larger remainder is rounded up
        ((1, 1), 5, [3, 2]),  # equal remainders: the earlier text
        ((1, 1, 1), 8, [3, 3, 2]),
        ((5, 3, 1), 10, [6, 3, 1]),  # 5 5/9, 3 3/9, 1 1/9
        ((1, 2), 2, [1, 1]),  # ⅔ and 1⅓
        ((999_999, 1), 3_000_000, [2_999_997, 3]),
    ],
)
def test_windows_are_shared_out_by_largest_remainder(
    weights: tuple[int, ...], windows: int, expected: list[int]
) -> None:
    spec = TextSpec(tuple(TextPart(f"{i}.txt") for i in range(len(weights))), weights)
    assert spec.counts(windows) == expected


def test_a_text_that_would_give_no_window_is_named() -> None:
    with pytest.raises(SDSError, match=r"2 windows are too few .* a\.txt\*9\+b\.txt: none from b\.txt"):
        TextSpec.parse("a.txt*9+b.txt").counts(2)


@pytest.mark.parametrize(
    ("calibration", "evaluation", "used"),
    [
        ("self", "python-docs", ("self", "python-docs")),
        ("a.txt", "a.txt", ("a.txt@0-50%", "a.txt@50-100%")),
        ("a.txt", "x/../a.txt", ("a.txt@0-50%", "x/../a.txt@50-100%")),
        ("self", "self", ("self@0-50%", "self@50-100%")),
        ("a.csv", "a.csv:text", ("a.csv@0-50%", "a.csv:text@50-100%")),
        ("a.csv:title", "a.csv:text", ("a.csv:title", "a.csv:text")),
        ("hub:a/b:c::text", "hub:a/b:c:train:text", ("hub:a/b:c::text@0-50%", "hub:a/b:c:train:text@50-100%")),
        (
            "hub:a/b:::text",
            "hub:a/b:default:train:text",
            ("hub:a/b:::text@0-50%", "hub:a/b:default:train:text@50-100%"),
        ),
        ("hub:a/b:c:train:text", "hub:a/b:c:test:text", ("hub:a/b:c:train:text", "hub:a/b:c:test:text")),
        ("a.txt@0-50%", "a.txt@50-100%", ("a.txt@0-50%", "a.txt@50-100%")),
        ("a.txt@900-1000", "a.txt@0-900", ("a.txt@900-1000", "a.txt@0-900")),
        ("self*2+a.txt", "python-docs+a.txt*3", ("self*2+a.txt@0-50%", "python-docs+a.txt@50-100%*3")),
        ("a.txt@0-10%+a.txt@20-30%", "a.txt@10-20%", ("a.txt@0-10%+a.txt@20-30%", "a.txt@10-20%")),
    ],
)
def test_calibration_and_evaluation_share_no_token(calibration: str, evaluation: str, used: tuple[str, str]) -> None:
    assert disjoint(calibration, evaluation) == used


@pytest.mark.parametrize(
    ("calibration", "evaluation"),
    [
        ("a.txt@0-51%", "a.txt@50-100%"),
        ("a.txt@0-1000", "./a.txt@999-2000"),
        ("a.txt", "a.txt@50-100%"),
        ("a.txt@0-50%", "a.txt"),
        ("a.txt@0-50%", "a.txt@5000-6000"),  # whether they overlap depends on how long the text is
        ("self+a.txt", "a.txt@0-1%"),
    ],
)
def test_overlapping_parts_are_refused_with_disjoint_ones(calibration: str, evaluation: str) -> None:
    with pytest.raises(SDSError, match=r"share a part of .*a\.txt@0-50% and (\./)?a\.txt@50-100%"):
        disjoint(calibration, evaluation)


@pytest.mark.parametrize("evaluation", ["a.txt", "python-docs+./a.txt", "a.txt@50-100%"])
def test_one_text_with_rows_stripped_and_whole_is_refused(evaluation: str) -> None:
    with pytest.raises(SDSError, match=r"share a\.txt, of which whole rows .* two texts, or --eval-rows stripped"):
        disjoint("self+a.txt@0-50%", evaluation, "whole")
    assert disjoint("a.txt", "b.txt", "whole") == ("a.txt", "b.txt")
    assert disjoint("self", "self", "whole") == disjoint("self", "self"), "it has no rows"


def test_a_link_to_a_text_is_that_text(tmp_path) -> None:
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "b.txt").symlink_to(tmp_path / "a.txt")
    assert disjoint(f"{tmp_path}/a.txt", f"{tmp_path}/b.txt")[1] == f"{tmp_path}/b.txt@50-100%"
