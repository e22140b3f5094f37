"""Votes of a class: the last guess counts, what is written stays small, and what is read is checked."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sds_core.lesson import votes
from sds_core.lesson.votes import MOST_VOTERS, Ballot, Votes, read_votes


@pytest.fixture
def due(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], None]]:
    """Writes that are due, which a test does when it likes."""
    waiting: list[Callable[[], None]] = []

    class Timer:
        daemon = False

        def __init__(self, pause: float, write: Callable[[], None]):
            assert pause == votes.PAUSE
            self.start = lambda: waiting.append(write)

    monkeypatch.setattr(votes.threading, "Timer", Timer)
    return waiting


@pytest.fixture
def ballot(tmp_path: Path, due: list) -> Ballot:
    return Ballot(tmp_path / "votes.json")


def test_the_last_guess_of_a_voter_counts(ballot, due, tmp_path):
    for voter, step, guess in [("a", 3, "23"), ("b", 3, "46"), ("a", 3, "46"), ("a", 2, "c")]:
        ballot.vote(voter, step, guess)
    due.pop()()
    found = read_votes(tmp_path / "votes.json")
    assert found == Votes(2, {"3": {"46": 2}, "2": {"c": 1}})
    assert found.of(3) == {"46": 2} and found.of(8) == {}


def test_more_voters_than_a_class_has_are_not_counted(ballot, due, tmp_path):
    for number in range(MOST_VOTERS + 20):
        for step in range(1, 9):
            ballot.vote(str(number), step, str(9999 - number))
    due.pop()()
    assert read_votes(tmp_path / "votes.json").voters == MOST_VOTERS
    assert (tmp_path / "votes.json").stat().st_size < votes.LARGEST


def test_many_guesses_are_written_at_once(ballot, due, tmp_path):
    for number in range(50):
        ballot.vote("a", 1, str(number))
    assert len(due) == 1
    due.pop()()
    assert read_votes(tmp_path / "votes.json").of(1) == {"49": 1}
    ballot.vote("a", 1, "7")
    assert len(due) == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"voters": -1}',
        '{"voters": 1, "steps": {"1": {"a": 1e9}}}',
        '{"steps": 3}',
        "[" * 5000,
        '{"more": 1}',
    ],
)
def test_a_file_that_no_ballot_writes_counts_nothing(tmp_path, text):
    (tmp_path / "votes.json").write_text(text)
    assert read_votes(tmp_path / "votes.json") == Votes()


def test_a_file_too_large_counts_nothing(tmp_path):
    (tmp_path / "votes.json").write_text(json.dumps({"voters": 1, "steps": {}}) + " " * votes.LARGEST)
    assert read_votes(tmp_path / "votes.json") == Votes() == read_votes(tmp_path / "nowhere.json")
