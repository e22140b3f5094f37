"""The workshop's plan fills ninety minutes, agrees with the teacher's notes, and links to pages that exist."""

import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from sds_core.lesson import micro
from sds_core.lesson.questions import STEPS
from sds_core.pruning.registry import PRUNERS

ROOT = Path(__file__).parents[1]
PLAN = (ROOT / "docs" / "workshop.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (\d+)–(\d+) \| (.+?) `(/[^`]*)` \| (.+?) \| (.+?) \|$", PLAN, re.MULTILINE)


def test_minutes_are_contiguous_and_total_ninety():
    ends = [(int(begin), int(end)) for begin, end, *_ in ROWS]
    assert ends[0][0] == 0 and ends[-1][1] == 90
    assert all(before[1] == after[0] < after[1] for before, after in zip(ends, ends[1:], strict=False))


def test_questions_take_the_minutes_of_their_notes():
    planned = [
        (int(page.split()[1]), int(end) - int(begin)) for begin, end, page, *_ in ROWS if page.startswith("Walk")
    ]
    assert planned[:-1] == [(number, step.notes.minutes) for number, step in enumerate(STEPS, 1)]
    assert planned[-1][0] == len(STEPS), "the hand-out comes last"


def test_paths_name_pages_and_parameters_that_exist():
    known = {
        "": {},
        "walk": {"step": {str(number) for number in range(1, len(STEPS) + 1)}},
        "micro": {"pruner": set(PRUNERS), "seed": {str(seed) for seed in range(micro.SEEDS + 1)}}
        | {"step": {"columns"}, "column": {str(column) for column in range(micro.SIZE + 1)}},
        "lab": {"dual": {"on", "off"}},
    }
    for *_, address, _, _ in ROWS:
        parts = urlsplit(address)
        page = parts.path.strip("/")
        assert (ROOT / "pages" / f"{page or 'start'}.py").exists()
        assert all(set(values) <= known[page][name] for name, values in parse_qs(parts.query).items())
