"""Contrast of every colour on the pages it stands on, by the formula of WCAG 2.2; who gets which colour."""

import tomllib
from pathlib import Path

import pytest

from sds_core.figures.palette import palette

THEMES = tomllib.loads((Path(__file__).parents[2] / ".streamlit/config.toml").read_text("utf-8"))["theme"]
WASH, SOFT = 0.05, 0.72
"""Of ink in paper: under what is chosen, and of the text that stands back."""


def linear(color: str) -> list[float]:
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]


def contrast(one: list[float], other: list[float]) -> float:
    darker, lighter = sorted(sum(w * v for w, v in zip((0.2126, 0.7152, 0.0722), c, strict=True)) for c in (one, other))
    return (lighter + 0.05) / (darker + 0.05)


def times(matrix: tuple, vector: list[float]) -> list[float]:
    return [sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix]


# Björn Ottosson, "A perceptual color space for image processing" (2020).
TO_LMS = (
    (0.4122214708, 0.5363325363, 0.0514459929),
    (0.2119034982, 0.6806995451, 0.1073969566),
    (0.0883024619, 0.2817188376, 0.6299787005),
)
FROM_LMS = (
    (4.0767416621, -3.3077115913, 0.2309699292),
    (-1.2684380046, 2.6097574011, -0.3413193965),
    (-0.0041960863, -0.7034186147, 1.7076147010),
)


def mixed(one: str, other: str, share: float) -> list[float]:
    """CSS's `color-mix(in oklab, one share, other)`; Oklab is linear in the cube roots, so those are mixed."""
    roots = ([v ** (1 / 3) for v in times(TO_LMS, linear(color))] for color in (one, other))
    return times(FROM_LMS, [(share * a + (1 - share) * b) ** 3 for a, b in zip(*roots, strict=True)])


@pytest.mark.parametrize(("at", "theme"), enumerate(("light", "dark")))
@pytest.mark.parametrize("name", palette().named())
def test_every_mark_stands_out_from_its_page(name, at, theme):
    paper, ink = THEMES[theme]["backgroundColor"], THEMES[theme]["textColor"]
    color = linear(palette().named()[name][at])
    assert contrast(color, linear(paper)) >= 3
    assert contrast(color, mixed(ink, paper, WASH)) >= 3


@pytest.mark.parametrize(("at", "theme"), enumerate(("light", "dark")))
@pytest.mark.parametrize("name", palette().text)
def test_words_in_color_are_legible(name, at, theme):
    paper, ink = THEMES[theme]["backgroundColor"], THEMES[theme]["textColor"]
    color = linear(palette().text[name][at])
    assert min(contrast(color, linear(paper)), contrast(color, mixed(ink, paper, WASH))) >= 4.5


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_soft_text_is_legible(theme):
    paper, ink = THEMES[theme]["backgroundColor"], THEMES[theme]["textColor"]
    soft = mixed(ink, paper, SOFT)
    assert contrast(soft, linear(paper)) >= 4.5
    assert contrast(soft, mixed(ink, paper, WASH)) >= 4.5


def test_contrast_is_that_of_the_standard():
    assert contrast(linear("#FFFFFF"), linear("#000000")) == pytest.approx(21)
    assert contrast(linear("#FFFFFF"), linear("#777777")) == pytest.approx(4.48, abs=0.01)
    assert mixed("#FFFFFF", "#000000", 0.5) == pytest.approx([0.125] * 3, abs=1e-6)


def test_runs_of_one_kind_get_colors_of_their_own():
    assert palette().assign(["wanda", "sds", "sds", "mine"]) == ["wanda", "sds", "other-2", "other-3"]
    many = palette().assign(["sds"] * 9)
    assert len(set(many)) == 9 and set(many) <= palette().named().keys()
