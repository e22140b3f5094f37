"""Tokens in colour: nothing of the text is markup, and colours mean what they say."""

import re
from html.parser import HTMLParser

import pytest

from sds_core.figures import text as figures
from sds_core.figures import text_means
from sds_core.figures.palette import palette
from tests.readings import reading
from tests.readings import result as text_result

HOSTILE = ('<script>alert("x")</script>', "'\"><img src=x onerror=alert(1)>", "&lt;", "</span>", "\n", "\t", "", "x")
LOSSES = (1.0, 3.0, 2.0, 1.0)


def result(pieces, dense, *others, continuation=("a", "b")):
    readings = [
        reading(name, losses, continuation=continuation)
        for name, losses in zip(("dense", "<b>one", "two"), (dense, *others), strict=False)
    ]
    return text_result(*readings, pieces=[pieces])


class Parsed(HTMLParser):
    """Tags with their attributes, and the text between them."""

    def __init__(self, html: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text.append(data)

    @property
    def spans(self):
        return [attributes for tag, attributes in self.tags if tag == "span"]


def opacity(span):
    return float(re.search(r"rgba\([\d, ]+, ([\d.]+)\)", span["style"])[1])


def test_hostile_texts_stay_texts():
    losses = (1.0,) * (len(HOSTILE) - 1)
    asked = result(HOSTILE, losses, losses, continuation=HOSTILE)
    drawn, means = Parsed(figures.beside(asked, 0)), Parsed(text_means.means(asked))
    assert {tag for tag, _ in drawn.tags} == {"div", "section", "span"} and {tag for tag, _ in means.tags} == {"div"}
    allowed = {"title", "style", "role", "aria-label"}
    assert {name for _, attributes in drawn.tags + means.tags for name in attributes} <= allowed
    assert len(drawn.spans) == 2 * len(HOSTILE) + 4
    visible = "".join(HOSTILE[:6]).replace("\n", "↵\n").replace("\t", "⇥\t") + "·x"
    assert "".join(drawn.text).count(visible) == 2 and "".join(drawn.text).count("".join(HOSTILE)) == 2
    assert "<b>one" in drawn.text and "<b>one" in means.text


def test_means_have_the_colours_of_methods_whatever_the_runs_are_called():
    named = palette().named()
    models = [reading("x", (2.0,), kind="sds"), reading("SDS, distilled · Wanda", (3.0,), kind="wanda")]
    drawn = text_means.means(text_result(reading("dense", (1.0,)), *models))
    places = [drawn.index("light-dark({}, {})".format(*named[kind])) for kind in ("sds", "wanda")]
    assert places == sorted(places)


def test_colours_follow_the_difference_in_loss():
    parsed = Parsed(figures.beside(result("abcde", LOSSES, (3.0, 1.0, 2.0, 99.0)), 0))
    tokens = [span for span in parsed.spans if "title" in span]
    dense, spans = tokens[:5], tokens[5:]
    assert [opacity(span) for span in spans] == [0, 0.3, 0.3, 0, 0.6]
    reds = [spans[i]["style"].partition("rgba(")[2].split(",")[0] for i in (1, 2)]
    assert reds == [str(int(colour[1:3], 16)) for colour in (figures.LESS, figures.MORE)]
    assert spans[1]["title"] == "'b': 3.00 nats, +2.00 against the dense model’s 1.00"
    assert "-2.00 against" in spans[2]["title"] and "the first token" in spans[0]["title"]
    assert [opacity(span) for span in dense] == [0, 0.05, 0.15, 0.1, 0.05] and dense[2]["title"] == "'c': 3.00 nats"
    assert "26.25 nats a token, +24.50" in parsed.text


def test_a_continuation_counts_tokens_shared_with_dense():
    continuations = {"dense": ("w", "x", "y"), "one": ("w", "z"), "two": ("q",)}
    readings = [reading(name, (1.0,), continuation=tokens) for name, tokens in continuations.items()]
    parsed = Parsed(figures.beside(text_result(*readings), 0))
    notes = ["adds 3 tokens", "adds 2 tokens, 1 as dense", "adds 1 token, 0 as dense"]
    assert [text for text in parsed.text if text.startswith("adds")] == notes
    assert parsed.text[-2:] == ["…", "q"] and ["…", "w", "z"] in [parsed.text[i : i + 3] for i in range(20)]


def test_each_prompt_has_its_cards():
    readings = [reading(name, (1.0,), (2.0, 5.0), sampled=(f"<{name}>",)) for name in ("dense", "one")]
    asked = text_result(*readings, pieces=[["a", "b"], ["c", "d", "e"]], temperature=0.5)
    drawn = [Parsed(figures.beside(asked, number)) for number in (0, 1)]
    assert [sum("title" in span for span in parsed.spans) for parsed in drawn] == [4, 6]
    assert "3.50 nats a token" in drawn[1].text and "<one>" not in drawn[1].text
    sampled = Parsed(figures.beside(asked, 1, sampled=True)).text
    assert sampled.count("<one>") == 1 and sampled.count("draws 1 token") == 2


def test_means_stand_where_their_differences_are():
    """Differences of the prompts' totals are 2 and 6 over 2 tokens each: the mean is 2, its error √2·√(4+4)/4 = 1."""
    readings = [reading("dense", (1.0, 1.0), (1.0, 1.0)), reading("Wanda", (2.0, 2.0), (4.0, 4.0))]
    parsed = Parsed(text_means.means(text_result(*readings)))
    assert "+2.00 ± 1.00" in parsed.text and "nats a token above dense (1.00) ± standard error" in parsed.text[-1]
    zero, bar, dot = (
        re.search(r"left: (?:calc\()?([\d.]+)%", t["style"]) for _, t in parsed.tags if "left:" in t.get("style", "")
    )
    assert [float(mark[1]) for mark in (zero, bar, dot)] == [2.0, 2.0, 50.0]


def test_one_prompt_has_no_bar():
    readings = [reading("dense", (1.0, 1.0)), reading("Wanda", (0.5, 1.0))]
    parsed = Parsed(text_means.means(text_result(*readings)))
    assert "−0.25" in parsed.text and "±" not in "".join(parsed.text)
    assert sum("height: 4px" in attributes.get("style", "") for _, attributes in parsed.tags) == 0


@pytest.mark.parametrize("pieces", ["", "x"])
def test_texts_without_a_loss(pieces):
    parsed = Parsed(figures.beside(result(pieces, (), ()), 0))
    assert sum("title" in span for span in parsed.spans) == 2 * len(pieces)


def luminance(rgb):
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in rgb)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize(("text", "page"), [("1B1F26", "FFFFFF"), ("F0F2F6", "0E1117")], ids=["light", "dark"])
@pytest.mark.parametrize("colour", [figures.LESS, figures.MORE, figures.UNEXPECTED])
def test_text_is_readable_on_every_colour(text, page, colour):
    """WCAG's contrast of 4.5, with the themes of .streamlit/config.toml."""
    text, page = ([int(code[i : i + 2], 16) for i in (0, 2, 4)] for code in (text, page))
    full = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    mixed = [figures.STRONGEST * c + (1 - figures.STRONGEST) * p for c, p in zip(full, page, strict=True)]
    one, other = sorted((luminance(text), luminance(mixed)))
    assert (other + 0.05) / (one + 0.05) >= 4.5


def test_the_legend_names_its_steps():
    parsed = Parsed(figures.legend())
    assert re.findall(r"[+-]?\d", "".join(parsed.text)) == ["-4", "-2", "0", "+2", "+4"]
    assert [opacity(span) for span in parsed.spans] == [0.6, 0.3, 0, 0.3, 0.6, 0.6]
