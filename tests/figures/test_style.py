"""One template for all figures, and a palette that both themes show."""

import json
import math

import pytest
from plotly.graph_objects import Figure

from sds_core.figures import style

COLOURS = {
    *style.STAGE_COLOURS.values(),
    *style.RUN_COLOURS,
    style.QUIET,
}


def luminance(colour: str) -> float:
    """WCAG's relative luminance of a colour such as #1B1F26."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return math.fsum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("background", ["#FFFFFF", "#0E1117"], ids=["light", "dark"])
@pytest.mark.parametrize("colour", sorted(COLOURS))
def test_colours_show_on_both_themes(colour, background):
    low, high = sorted([luminance(background), luminance(colour)])
    assert round((high + 0.05) / (low + 0.05), 1) >= 3


def test_a_figure_carries_the_template():
    drawn = style.figure([], height=10, xaxis=style.titled("x"))
    assert drawn == {
        "data": [],
        "layout": {"template": style.TEMPLATE, "height": 10, "xaxis": {"title": {"text": "x"}}},
    }


def test_plotly_accepts_the_template():
    Figure(style.figure([{"type": "heatmap", "z": [[1]]}], height=10))
    json.dumps(style.TEMPLATE, allow_nan=False)


def test_an_explicit_layout_adds_what_the_template_says():
    own = {"range": [0, 1], "title": {"text": "y"}}
    layout = style.explicit(style.figure([], height=10, margin={"t": 99}, yaxis2=own, hovermode="x"))["layout"]
    assert layout["yaxis2"]["range"] == [0, 1] and layout["yaxis2"]["tickfont"]["size"] == style.TEXT
    assert layout["yaxis2"]["title"] == {"text": "y", "font": {"size": style.TEXT}}
    assert layout["margin"] == style.TEMPLATE["layout"]["margin"] | {"t": 99}
    assert layout["hovermode"] == "x" and layout["xaxis"] == style.TEMPLATE["layout"]["xaxis"]


def test_an_explicit_layout_leaves_the_template_as_it_is():
    before = json.dumps(style.TEMPLATE)
    style.explicit(style.figure([], height=10, xaxis={"title": {"text": "x"}, "tickfont": {"size": 3}}))
    assert json.dumps(style.TEMPLATE) == before


@pytest.mark.parametrize(
    ("share", "digits", "written"),
    [
        (0.5, 1, "50.0 %"),
        (0.1234, 2, "12.34 %"),
        (0.0, 1, "0.0 %"),
        (0.0004, 1, "<0.1 %"),
        (0.0006, 1, "0.1 %"),
        (0.004, 0, "<1 %"),
        (1.0, 0, "100 %"),
    ],
)
def test_a_share_above_zero_never_reads_as_zero(share, digits, written):
    assert style.per_cent(share, digits) == written.replace(" ", "\N{NO-BREAK SPACE}")


def test_a_colour_is_given_an_opacity():
    assert style.see_through("#E07B00", 0.25) == "rgba(224, 123, 0, 0.25)"


def test_short_names_are_no_markup():
    assert style.short_names(["attn.<b>q", "attn.&k"]) == ["&lt;b&gt;q", "&amp;k"]


@pytest.mark.parametrize(
    ("labels", "short"),
    [(["attn.q", "mlp.up"], ["q", "up"]), (["self.q", "cross.q"], ["self.q", "cross.q"]), (["q"], ["q"])],
)
def test_short_names_still_tell_labels_apart(labels, short):
    assert style.short_names(labels) == short
