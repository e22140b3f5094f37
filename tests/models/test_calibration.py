"""Texts become windows: the right part, the right number, none overlapping, errors that name what is missing."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from sds_core.errors import SDSError
from sds_core.models import calibration
from sds_core.models.calibration import (
    bos_used,
    calibration_windows,
    digest,
    evaluation_windows,
    read_self_text,
    save_self_text,
    self_text_file,
)
from sds_core.models.load import LoadedModel, load_model
from sds_core.models.special_tokens import special_tokens
from tests.models.tokenizers import with_template


@pytest.fixture(scope="module")
def loaded(tiny_folder: Path) -> LoadedModel:
    return load_model(str(tiny_folder))


@pytest.fixture
def counted(tmp_path: Path) -> Path:
    """A text of 600 tokens in which no stretch of windows' length occurs twice: 200 characters of three bytes."""
    path = tmp_path / "counted.txt"
    path.write_text("".join(chr(0x4E00 + i) for i in range(200)), encoding="utf-8")
    return path


def tokens_of(loaded: LoadedModel, path: Path) -> list[int]:
    return loaded.tokenizer(path.read_text(encoding="utf-8")).input_ids


def starts(windows: Tensor, tokens: list[int]) -> list[int]:
    """Where each window begins in the text, where it occurs exactly once."""
    found = []
    for window in windows.tolist():
        places = [i for i in range(len(tokens) - len(window) + 1) if tokens[i : i + len(window)] == window]
        assert len(places) == 1
        found += places
    return found


@pytest.mark.parametrize(("count", "length"), [(1, 50), (2, 100), (5, 64), (7, 85), (12, 50), (30, 20)])
def test_evaluation_windows_are_spread_evenly_without_overlap(
    loaded: LoadedModel, counted: Path, count: int, length: int
) -> None:
    tokens = tokens_of(loaded, counted)
    assert len(tokens) == 600
    windows = evaluation_windows(loaded, str(counted), count, length)
    assert windows.shape == (count, length) and windows.dtype == torch.int64
    begin = starts(windows, tokens)
    gaps = [b - a for a, b in zip(begin, begin[1:], strict=False)]
    assert begin[0] == 0
    assert all(gap >= length for gap in gaps)
    if count > 1:
        assert begin[-1] == 600 - length  # both ends of the text are covered
        assert max(gaps) - min(gaps) <= 1


def test_windows_come_only_from_the_part_that_was_named(loaded: LoadedModel, counted: Path) -> None:
    tokens = tokens_of(loaded, counted)
    share = evaluation_windows(loaded, f"{counted}@50-100%", 3, 40)
    assert starts(share, tokens) == [300, 430, 560]
    some = calibration_windows(loaded, f"{counted}@100-220", 3, 40, seed=0)
    assert sorted(starts(some, tokens)) == [100, 140, 180]


def test_calibration_windows_follow_the_seed_and_never_overlap(loaded: LoadedModel, counted: Path) -> None:
    tokens = tokens_of(loaded, counted)
    first, again, other = (calibration_windows(loaded, str(counted), 10, 30, seed) for seed in (1, 1, 2))
    assert first.shape == (10, 30)
    assert torch.equal(first, again) and not torch.equal(first, other)
    for windows in (first, other):
        begin = sorted(starts(windows, tokens))
        assert all(b - a >= 30 for a, b in zip(begin, begin[1:], strict=False))
    assert set(starts(first, tokens)) != set(starts(other, tokens))


def test_choosing_windows_leaves_the_global_random_numbers_alone(loaded: LoadedModel, counted: Path) -> None:
    before = torch.get_rng_state()
    calibration_windows(loaded, str(counted), 10, 30, seed=5)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("kind", ["evaluation", "calibration"])
def test_short_text_is_refused_with_token_counts(loaded: LoadedModel, counted: Path, kind: str) -> None:
    def ask(count: int) -> Tensor:
        if kind == "evaluation":
            return evaluation_windows(loaded, f"{counted}@0-50%", count, 100)
        return calibration_windows(loaded, f"{counted}@0-50%", count, 100, seed=0)

    assert len(ask(3)) == 3  # exactly enough
    with pytest.raises(SDSError, match="400 tokens are needed, 300 available"):
        ask(4)


def test_lines_are_joined_by_blank_lines(loaded: LoadedModel, tmp_path: Path) -> None:
    path = tmp_path / "rows.txt"
    path.write_bytes("one\r\ntwo ä\nthree\n".encode())
    expected = loaded.tokenizer("one\n\ntwo ä\n\nthree").input_ids
    assert evaluation_windows(loaded, str(path), 1, len(expected)).tolist() == [expected]


@pytest.mark.parametrize("source", ["wikitext", "text.md", "/etc/passwd"])
def test_unknown_text_is_refused_with_known_ones(loaded: LoadedModel, source: str) -> None:
    with pytest.raises(SDSError, match=f"unknown text: got '{source}'; allowed: self, python-docs"):
        evaluation_windows(loaded, source, 1, 8)


def test_a_missing_text_file_is_named(loaded: LoadedModel, tmp_path: Path) -> None:
    with pytest.raises(SDSError, match=r"there is no such text file.*gone\.txt"):
        evaluation_windows(loaded, str(tmp_path / "gone.txt"), 1, 8)


def test_a_text_that_is_not_utf8_is_refused(loaded: LoadedModel, tmp_path: Path) -> None:
    path = tmp_path / "latin.txt"
    path.write_bytes("füür".encode("latin-1") * 50)
    with pytest.raises(SDSError, match=r"latin\.txt cannot be read.*allowed: a file in UTF-8"):
        evaluation_windows(loaded, str(path), 1, 8)


def test_a_folder_named_like_a_text_is_refused(loaded: LoadedModel, tmp_path: Path) -> None:
    (tmp_path / "folder.txt").mkdir()
    with pytest.raises(SDSError, match="not a file"):
        evaluation_windows(loaded, str(tmp_path / "folder.txt"), 1, 8)


def test_a_path_with_a_zero_byte_is_refused(loaded: LoadedModel) -> None:
    with pytest.raises(SDSError):
        evaluation_windows(loaded, "a\0b.txt", 1, 8)


def test_python_docs_are_the_topics_of_pythons_own_help(loaded: LoadedModel) -> None:
    from pydoc_data.topics import topics

    first = topics[min(topics)].strip()
    expected = loaded.tokenizer(first[:400]).input_ids[:32]
    windows = evaluation_windows(loaded, "python-docs@0-640", 2, 32)
    assert windows.shape == (2, 32) and windows[0].tolist() == expected


@pytest.mark.parametrize("kind", ["calibration", "evaluation"])
def test_tokenizer_beyond_the_vocabulary_is_refused(loaded: LoadedModel, counted: Path, kind: str) -> None:
    def narrowed(vocabulary: int) -> LoadedModel:
        config = SimpleNamespace(get_text_config=lambda: SimpleNamespace(vocab_size=vocabulary))
        return replace(loaded, model=SimpleNamespace(config=config))

    def ask(model: LoadedModel) -> Tensor:
        if kind == "evaluation":
            return evaluation_windows(model, str(counted), 1, 8)
        return calibration_windows(model, str(counted), 1, 8, seed=0)

    highest = max(tokens_of(loaded, counted))
    assert len(ask(narrowed(highest + 1))) == 1
    with pytest.raises(SDSError, match=f"knows token {highest}, its model only {highest}"):
        ask(narrowed(highest))


def test_the_digest_tells_windows_and_shapes_apart() -> None:
    windows = torch.arange(12).view(3, 4)
    assert digest(windows) == digest(windows.clone().to(torch.int32))
    changed = windows.clone()
    changed[1, 1] += 1
    assert len({digest(windows), digest(changed), digest(windows.view(4, 3)), digest(windows[:2])}) == 4


@pytest.fixture
def no_self_text(loaded: LoadedModel) -> Path:
    """Where the tiny model's own text would lie; nothing is there."""
    path = self_text_file(loaded)
    path.unlink(missing_ok=True)
    return path


@pytest.mark.parametrize(("highest", "stored"), [(65_535, "U16"), (65_536, "I32")])
def test_self_written_text_comes_back_as_it_was_saved(
    loaded: LoadedModel, no_self_text: Path, highest: int, stored: str
) -> None:
    windows = torch.randint(0, highest, (6, 32), generator=torch.Generator().manual_seed(0))
    windows[5, 31] = highest
    save_self_text(no_self_text, windows, {"seed": "3"})
    with safe_open(no_self_text, "pt") as file:
        assert file.get_slice("windows").get_dtype() == stored
        assert file.metadata() == {"seed": "3"}
    back = read_self_text(loaded)
    assert back.dtype == torch.int64 and torch.equal(back, windows)


def test_self_written_windows_begin_at_stored_starts(loaded: LoadedModel, no_self_text: Path) -> None:
    windows = torch.arange(6 * 32).view(6, 32)
    save_self_text(no_self_text, windows, {})
    assert torch.equal(evaluation_windows(loaded, "self", 4, 20), windows[:4, :20])
    chosen = calibration_windows(loaded, "self", 4, 20, seed=0)
    rows = [int(row[0]) // 32 for row in chosen]
    assert len(set(rows)) == 4 and torch.equal(chosen, windows[rows, :20])
    assert not torch.equal(chosen, calibration_windows(loaded, "self", 4, 20, seed=1))


@pytest.mark.parametrize(("count", "length"), [(7, 20), (4, 33)])
def test_short_self_written_text_is_refused_with_its_size(
    loaded: LoadedModel, no_self_text: Path, count: int, length: int
) -> None:
    save_self_text(no_self_text, torch.zeros(6, 32, dtype=torch.int64), {})
    with pytest.raises(SDSError, match=f"{count} calibration windows, of {length} tokens each, .*has 6 of 32"):
        calibration_windows(loaded, "self", count, length, seed=0)


def test_self_written_text_has_no_parts_in_tokens(loaded: LoadedModel, no_self_text: Path) -> None:
    save_self_text(no_self_text, torch.zeros(6, 32, dtype=torch.int64), {})
    for ask in (evaluation_windows, lambda *a: calibration_windows(*a, seed=0)):
        with pytest.raises(SDSError, match="are in per cent only"):
            ask(loaded, "self@0-3", 2, 8)


def test_halves_of_self_written_text_share_no_window(loaded: LoadedModel, no_self_text: Path) -> None:
    save_self_text(no_self_text, torch.arange(6 * 32).view(6, 32), {})
    first = calibration_windows(loaded, "self@0-50%", 3, 32, seed=0)
    assert sorted(first[:, 0].tolist()) == [0, 32, 64]
    assert evaluation_windows(loaded, "self@50-100%", 3, 32)[:, 0].tolist() == [96, 128, 160]
    with pytest.raises(SDSError, match=r"3 calibration windows and 1 held out, of 32 tokens each, .*has 3 of 32"):
        calibration_windows(loaded, "self@0-50%", 3, 32, seed=0, held_out=1)


def test_without_self_written_text_the_cure_is_named(loaded: LoadedModel, no_self_text: Path) -> None:
    with pytest.raises(SDSError, match=r"has not written any calibration text yet.*write-text --model"):
        calibration_windows(loaded, "self", 2, 8, seed=0)


def test_a_broken_self_written_text_is_refused(loaded: LoadedModel, no_self_text: Path) -> None:
    no_self_text.parent.mkdir(parents=True, exist_ok=True)
    no_self_text.write_bytes(b"not safetensors at all")
    with pytest.raises(SDSError, match=r"is broken.*Write it again"):
        read_self_text(loaded)
    no_self_text.unlink()


def test_self_written_text_belongs_to_one_model(loaded: LoadedModel, cache: Path) -> None:
    other = replace(loaded, sha256=loaded.sha256 | {"model.safetensors": "0"})
    assert self_text_file(loaded) != self_text_file(other)
    assert self_text_file(loaded).is_relative_to(cache)


def test_demo_uses_the_shipped_self_written_text(
    loaded: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = tmp_path / "shipped.safetensors"
    monkeypatch.setattr(calibration, "DEMO_SELF_TEXT", shipped)
    demo = replace(loaded, name="demo")
    save_self_text(shipped, torch.ones(1, 4, dtype=torch.int64), {})
    assert read_self_text(demo).tolist() == [[1, 1, 1, 1]]
    assert self_text_file(demo) != shipped
    save_self_text(self_text_file(demo), torch.tensor([[2, 3]]), {})
    assert read_self_text(demo).tolist() == [[2, 3]], "what the user let it write comes first"
    assert self_text_file(loaded) != shipped


@pytest.fixture
def numbers(tmp_path: Path) -> tuple[Path, Path]:
    """Two texts of 600 tokens each that share no character."""
    paths = tmp_path / "first.txt", tmp_path / "second.txt"
    for path, begin in zip(paths, (0x4E00, 0x5E00), strict=True):
        path.write_text("".join(chr(begin + i) for i in range(200)), encoding="utf-8")
    return paths


def from_first(loaded: LoadedModel, windows: Tensor) -> list[bool]:
    return ["\u4e00" <= loaded.tokenizer.decode(window)[2] < "\u5e00" for window in windows]


@pytest.mark.parametrize("kind", ["calibration", "evaluation"])
def test_mixture_draws_windows_by_weight(loaded: LoadedModel, numbers: tuple[Path, Path], kind: str) -> None:
    def ask(name: str, count: int) -> Tensor:
        if kind == "evaluation":
            return evaluation_windows(loaded, name, count, 30)
        return calibration_windows(loaded, name, count, 30, seed=4)

    first, second = numbers
    windows = ask(f"{first}*2 + {second}@0-50%", 9)
    assert from_first(loaded, windows) == [True] * 6 + [False] * 3
    assert torch.equal(windows[:6], ask(str(first), 6)) and torch.equal(windows[6:], ask(f"{second}@0-50%", 3))
    assert from_first(loaded, ask(f"{first}*1+{second}*3", 8)).count(True) == 2


def test_windows_held_out_are_a_mixture_too(loaded: LoadedModel, numbers: tuple[Path, Path]) -> None:
    first, second = numbers
    mixture = f"{first}*2+{second}"
    windows = calibration_windows(loaded, mixture, 6, 30, seed=4, held_out=4)
    assert from_first(loaded, windows) == [True] * 4 + [False] * 2 + [True] * 3 + [False]
    assert torch.equal(windows[:6], calibration_windows(loaded, mixture, 6, 30, seed=4))
    assert len(windows.unique(dim=0)) == 10
    one_more = calibration_windows(loaded, mixture, 6, 30, seed=4, held_out=1)
    assert from_first(loaded, one_more) == [True] * 4 + [False] * 2 + [True]
    with pytest.raises(SDSError, match=r"1 windows are too few for the mixture .*: none from .*second\.txt"):
        calibration_windows(loaded, mixture, 1, 30, seed=4, held_out=9)


def test_short_part_of_a_mixture_is_named(loaded: LoadedModel, numbers: tuple[Path, Path]) -> None:
    first, second = numbers
    with pytest.raises(
        SDSError,
        match=r"second\.txt@0-10% is too short for 3 of 6 calibration windows: 90 tokens are needed, 60 available",
    ):
        calibration_windows(loaded, f"{first}+{second}@0-10%", 6, 30, seed=0)


def test_self_written_text_is_mixed_with_a_file(
    loaded: LoadedModel, numbers: tuple[Path, Path], no_self_text: Path
) -> None:
    save_self_text(no_self_text, torch.arange(6 * 32).view(6, 32) % 250, {})
    windows = calibration_windows(loaded, f"self*2+{numbers[0]}", 3, 20, seed=0)
    assert all(row in read_self_text(loaded)[:, :20].tolist() for row in windows[:2].tolist())
    assert torch.equal(windows[2:], calibration_windows(loaded, str(numbers[0]), 1, 20, seed=0))


@pytest.fixture(scope="module")
def starting(loaded: LoadedModel) -> LoadedModel:
    """The tiny model with a tokenizer that adds a start and an end token to every text."""
    return replace(loaded, tokenizer=with_template(loaded.tokenizer, "<s> $A <s>"))


@pytest.mark.parametrize("windows", [evaluation_windows, partial(calibration_windows, seed=0)])
def test_every_window_begins_with_the_start_token(
    starting: LoadedModel, loaded: LoadedModel, counted: Path, windows: Callable[..., Tensor]
) -> None:
    found, plain = windows(starting, str(counted), 5, 40), windows(loaded, str(counted), 5, 39)
    assert found.shape == (5, 40) and (found[:, 0] == 0).all()
    assert torch.equal(found[:, 1:], plain) and (plain != 0).all()


@pytest.mark.parametrize("windows", [evaluation_windows, partial(calibration_windows, seed=0)])
def test_a_start_token_of_the_text_alone_or_none(
    starting: LoadedModel, loaded: LoadedModel, counted: Path, windows: Callable[..., Tensor]
) -> None:
    assert torch.equal(windows(starting, str(counted), 5, 40, bos="none"), windows(loaded, str(counted), 5, 40))
    whole = [0, *tokens_of(loaded, counted)]
    once = windows(starting, str(counted), 15, 40, bos="text")
    assert sorted(starts(once, whole))[0] == 0 and int((once == 0).sum()) == 1


def test_windows_must_have_room_for_more_than_start_tokens(loaded: LoadedModel, counted: Path) -> None:
    starting = replace(loaded, tokenizer=with_template(loaded.tokenizer, "<s> <s> $A"))
    with pytest.raises(SDSError, match=r"windows of 2 tokens have no room after 2 start tokens. Make .*--bos none"):
        evaluation_windows(starting, str(counted), 1, 2)
    assert evaluation_windows(starting, str(counted), 1, 3)[0, :2].tolist() == [0, 0]


@pytest.mark.parametrize("bos", ["window", "text", "none"])
def test_the_mode_in_use_is_none_without_start_tokens(loaded: LoadedModel, starting: LoadedModel, bos: str) -> None:
    assert bos_used(loaded, bos) == "none" and bos_used(starting, bos) == bos


def test_a_tokenizer_that_changes_the_text_is_refused(loaded: LoadedModel, counted: Path) -> None:
    def erratic(text: str, add_special_tokens: bool, **_: object) -> SimpleNamespace:
        return SimpleNamespace(input_ids=[1, 2] if add_special_tokens else [3])

    with pytest.raises(SDSError, match="splits a text differently when it adds special tokens"):
        special_tokens(replace(loaded, tokenizer=cast(Any, erratic)))


def test_start_tokens_are_found_with_a_later_probe(loaded: LoadedModel) -> None:
    def digits_only(text: str, add_special_tokens: bool, **_: object) -> SimpleNamespace:
        ids = [3 + int(letter) for letter in text if letter in "0123456789"]
        return SimpleNamespace(input_ids=[1, *ids, 2] if add_special_tokens else ids)

    assert special_tokens(replace(loaded, tokenizer=cast(Any, digits_only))).before == (1,)
