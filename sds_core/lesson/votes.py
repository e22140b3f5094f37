"""Guesses of a class at the Walk's questions, counted: one small file, written by the class's server alone.

Importing this module stays cheap, and it knows nothing of runs: the class's server needs no more of the disk than this
file.
"""

import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from sds_core.files import write_json
from sds_core.runs.typed_json import Within, parse, to_json

VARIABLE = "SDS_CLASS"
"""Names the class's folder to its server."""
FILE = Path("votes") / "votes.json"
"""Where the votes lie in it: in a folder of their own."""
MOST_VOTERS = 100
"""Further ones are not counted: the file stays small, whatever somebody sends."""
PAUSE = 0.5
"""Seconds between two writes."""
LARGEST = 64 * 1024
"""Bytes of a file that is read."""
Count = Annotated[int, Within(0, MOST_VOTERS)]


@dataclass(frozen=True)
class Votes:
    """How often each guess was made, by the number of the step."""

    voters: Count = 0
    steps: dict[str, dict[str, Count]] = field(default_factory=dict)

    def of(self, step: int) -> dict[str, int]:
        """Return how often each guess was made at a step."""
        return self.steps.get(str(step), {})


class Ballot:
    """The guesses of everybody, the last one of a voter at a step."""

    def __init__(self, file: Path):
        """
        Args:
            file: where they are counted; its folder exists.
        """
        self._file, self._lock = file, threading.Lock()
        self._guesses: dict[str, dict[int, str]] = {}
        self._writing = False

    def vote(self, voter: str, step: int, guess: str) -> None:
        """Take a guess; it is in the file within `PAUSE`."""
        with self._lock:
            if voter not in self._guesses and len(self._guesses) >= MOST_VOTERS:
                return
            self._guesses.setdefault(voter, {})[step] = guess
            if self._writing:
                return
            self._writing = True
        timer = threading.Timer(PAUSE, self._write)
        timer.daemon = True
        timer.start()

    def _write(self) -> None:
        with self._lock:
            self._writing = False
            steps: dict[str, Counter[str]] = {}
            for guesses in self._guesses.values():
                for step, guess in guesses.items():
                    steps.setdefault(str(step), Counter())[guess] += 1
            votes = Votes(len(self._guesses), {step: dict(count) for step, count in steps.items()})
        write_json(self._file, to_json(votes))


def read_votes(file: Path) -> Votes:
    """Return what is counted so far; nothing where the file is missing, or is not what a ballot writes."""
    try:
        with open(file, "rb") as opened:
            text = opened.read(LARGEST + 1)
        return parse(Votes, text.decode()) if len(text) <= LARGEST else Votes()
    except (OSError, ValueError):
        return Votes()
