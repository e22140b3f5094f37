"""Hostile texts in a real browser: Streamlit shows them as they are, and makes nothing of them."""

import json

import pytest

from sds_core.figures import markup
from tests.figures.test_markup import HOSTILE
from tests.pages.browser import MISSING, server, visitors

SCRIPT = """
import json
import streamlit as st
from sds_core.figures import markup

st.title("hostile")
for i, text in enumerate(json.loads({texts!r})):
    with st.container(key=f"text-{{i}}"):
        st.markdown(markup.markdown(text))
    with st.container(key=f"label-{{i}}"):
        st.button(markup.markdown(text), key=f"button-{{i}}")
    with st.container(key=f"inside-{{i}}"):
        st.error(f"**Bold** {{markup.markdown(text)}} and more")
"""
MADE = "a, img, em, del, table, ul, ol, blockquote, h3, hr, .katex, [role=img], .stMarkdownColoredText, script"
"""What Markdown could make of a text; `code` and `strong` are looked for apart."""


@pytest.mark.skipif(bool(MISSING), reason=MISSING)
def test_hostile_texts_are_shown_as_they_are(tmp_path, cache):
    script = tmp_path / "hostile.py"
    script.write_text(SCRIPT.format(texts=json.dumps(HOSTILE)), encoding="utf-8")
    with server(tmp_path, cache, str(script)) as address, visitors(address) as visit:
        visitor = visit().open("/")
        page = visitor.page
        page.locator(f".st-key-inside-{len(HOSTILE) - 1}").wait_for()
        for i, text in enumerate(HOSTILE):
            shown = " ".join(text.split())
            for place, around in (("text", "{}"), ("label", "{}"), ("inside", "Bold {} and more")):
                box = page.locator(f".st-key-{place}-{i}").get_by_test_id("stMarkdownContainer")
                assert box.inner_text().replace(markup.JOINER, "").strip() == around.format(shown), place
                assert box.locator(f"{MADE}, code").count() == 0, (place, text)
        assert visitor.left == [] and visitor.errors == []
