"""The hand-out holds every question and answer, loads nothing, and needs no script."""

import re
from html import unescape

import pytest

from sds_core.errors import SDSError
from sds_core.lesson.questions import STEPS
from sds_core.reports.handout import handout


def visible(page: str) -> str:
    return unescape(re.sub(r"<[^>]+>", "", re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)))


@pytest.fixture
def page(evidence) -> str:
    return handout(lambda *names: evidence)


def test_every_question_is_there_with_its_answer_and_reason(page, evidence):
    text = visible(page)
    for step in STEPS:
        found = step.find(evidence)
        assert step.before in text and step.question in text and step.why in text
        assert f"{found.said} {found.details}" in text


def test_the_picture_shows_the_four_stages_inside_its_frame(page):
    shapes = re.findall(r'<polygon points="([^"]+)"', page)
    assert len(shapes) == 4
    width, height = map(int, re.search(r'viewBox="0 0 (\d+) (\d+)"', page).groups())
    for shape in shapes:
        points = [tuple(map(float, point.split(","))) for point in shape.split()]
        assert all(0 <= x <= width and 0 <= y <= height for x, y in points)
    assert visible(page).count("% zeros") == 4 and "final: 50.0 % zeros" in visible(page)


def test_nothing_is_loaded_and_no_script_is_needed(page):
    assert not re.search(r"\b(src|href|srcset|action|data|poster|on[a-z]+)=", page)
    assert not re.search(r"<(script|link|img|iframe|object|embed|form)\b|@import|url\(|https?:", page)
    assert re.search(r'Content-Security-Policy" content="default-src \'none\'; style-src \'unsafe-inline\'"', page)


def test_without_examples_it_says_so_and_has_no_picture():
    def none(*names: str):
        raise SDSError("no <run> here")

    page = handout(none)
    assert visible(page).count("no <run> here") == len(STEPS) and "<svg" not in page
    assert all(step.question in visible(page) and step.why not in visible(page) for step in STEPS)
