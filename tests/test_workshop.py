"""The workshop's plan fills ninety minutes, agrees with the teacher's notes, and links to pages that exist."""

import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from sds_core.lesson import micro
from sds_core.lesson.questions import STEPS, Choice
from sds_core.pruning.methods import SDSAdmm
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


def test_the_pruners_differ_in_row_1_of_the_example():
    problem = micro.example(10)
    masks = {name: PRUNERS[name]().solve(problem, micro.PATTERN).mask[0] for name in ("wanda", "magnitude")}
    assert micro.telling_row(problem) == 0 and "two masks differ in row 1" in PLAN
    assert (masks["wanda"] != masks["magnitude"]).any()


def test_the_lab_has_the_rounds_that_are_named():
    assert f"from 1 to {SDSAdmm().rounds}" in PLAN


def test_the_last_vote_has_the_choices_that_are_named():
    last = STEPS[-1].guess
    assert isinstance(last, Choice) and len(last.options) == 5
    assert "too close to call" in last.options[-1][0] and "best of four, or “too close to call”" in PLAN


def test_labels_in_quotes_are_on_the_pages():
    pages = [path for suffix in ("py", "js") for path in (ROOT / "pages").rglob(f"*.{suffix}")]
    said = "".join(path.read_text("utf-8") for path in [*pages, ROOT / "sds_core" / "lesson" / "questions.py"])
    quoted = set(re.findall(r"“([^”]+)”", PLAN))
    assert len(quoted) >= 5 and [label for label in quoted if label not in said] == []
    assert "Class mode: teacher" in said
