"""Hostile texts stay texts; `tests/pages/test_markup.py` shows them in a browser."""

from html.parser import HTMLParser

import pytest

from sds_core.figures import markup

HOSTILE = [
    "[a link](https://example.org)",
    "![an image](https://example.org/x.png)",
    "https://example.org/path?a=b",
    "see HTTP://example.org, or _http://example.org",
    "www.example.org and (www.example.org)",
    "someone@example.org, mailto:someone@example.org",
    "<https://example.org>",
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "&lt;b&gt; &amp; &#36;",
    "costs $1 and $2, $x^2$ and $$y$$",
    ":material/home: and :streamlit: and :smile: and :+1:",
    ":red[red] :blue-background[blue] :small[small] :rainbow",
    "`code` and ``more`` and ```",
    "*a* **b** _c_ __d__ ~e~ ~~f~~ snake_case_name",
    "# heading",
    "- item",
    "1. item",
    "12) item",
    "> quotation",
    "--- | --- |",
    "a -> b <- c <-> d -- e >= f <= g ~= h",
    "C:\\temp\\*.txt at 12:30:45, 2:4",
    "two\nlines\n\n    and code\n===",
    "[x]: https://example.org 'title'",
]


class Reader(HTMLParser):
    """The tags and the text of a page."""

    def __init__(self, page: str):
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("escaped", [markup.html, markup.plotly])
def test_html_holds_the_text_and_no_tag(text, escaped):
    page = Reader(f"<p>{escaped(text)}</p>")
    assert page.tags == ["p"] and page.text == text


def test_html_is_safe_inside_an_attribute():
    assert not {'"', "'", "<", ">"} & set(markup.html("\" onclick='x' <b>"))


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_keeps_every_character(text):
    line = markup.markdown(text)
    assert "\n" not in line
    plain = line.replace(markup.JOINER, "")
    restored, i = "", 0
    while i < len(plain):
        i += plain[i] == "\\"  # a backslash stands for what follows it
        restored, i = restored + plain[i], i + 1
    assert restored == " ".join(text.split())


@pytest.mark.parametrize("text", ["words: more", "mlp.up_proj", "models--org--name", "0.5 %", "2:4 (a); b!", "1 < 2"])
def test_harmless_texts_stay_as_they_are(text):
    assert markup.markdown(text) == text.replace("<", "\\<")
