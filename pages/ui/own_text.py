"""Upload a text, count its tokens, and choose it for calibration or evaluation."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from pages.ui import layout, outlook
from sds_core.errors import SDSError

if TYPE_CHECKING:
    from sds_core.runs.config import RunConfig

KINDS = ("txt",)
"""Kinds of file that can be uploaded."""
PURPOSES = ("calibration", "evaluation")
"""Options of a run that name a text."""
COUNTED = 1_000_000
"""Characters whose tokens are counted; the count of a longer text is extrapolated."""


def upload(settings: RunConfig | None) -> None:
    """Upload a text; it is kept in the user's cache folder and can then be chosen.

    Args:
        settings: whose model reads it, and how much of it; None where the choices contradict each other.
    """
    file = st.file_uploader("A text of your own", type=KINDS, key="own-text", help="In UTF-8. Kept on this machine.")
    if file is None:
        return
    from sds_core.models.own_text import store_text

    try:
        path = store_text(file.name, file.getvalue())
        if settings:
            st.markdown(_counted(path, settings))
    except SDSError as error:
        layout.refuse(error)
        return
    with st.container(horizontal=True):
        for purpose in PURPOSES:
            st.button(f"Use it for {purpose}", key=f"use-{purpose}", on_click=_use, args=(purpose, str(path)))


def offer_another(settings: RunConfig) -> None:
    """Say that the model's own text is asked for and it has written none, and offer one that everybody has."""
    from sds_core.models.text_spec import TextSpec
    from sds_core.models.written_texts import has_written

    lacking = [purpose for purpose in PURPOSES if TextSpec.parse(getattr(settings, purpose)).has_own]
    if not lacking or has_written(settings.model):
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        words = (
            f"{' and '.join(lacking).capitalize()}: “self” is text that a model wrote itself; this one has none here."
        )
        st.markdown(f":orange[{words}]", width="content")
        offer_docs(lacking)


def offer_docs(purposes: Iterable[str]) -> None:
    """The button that takes the text which comes with Python."""
    from sds_core.models.text_spec import PYTHON_DOCS

    take = partial(st.session_state.update, {f"option-{purpose}": PYTHON_DOCS for purpose in purposes})
    st.button("Take Python’s documentation", key="take-docs", on_click=take)


def _use(purpose: str, path: str) -> None:
    st.session_state[f"option-{purpose}"] = path


def _counted(path: Path, settings: RunConfig) -> str:
    """Return the length of a text, and whether it is long enough, in a sentence.

    Raises:
        SDSError: it cannot be read.
    """
    model, _ = outlook.checked_model(settings.model)
    characters, tokens = _count(str(path), str(model.folder) if model and model.folder else "")
    if tokens is None:
        return f"{characters:,} characters. Its tokens are counted once the model’s tokenizer is on this machine."
    needed = {
        "calibration": (settings.samples + settings.held_out) * settings.length,
        "evaluation": (settings.eval_windows or 1) * settings.eval_length,
    }
    about = "about " if characters > COUNTED else ""
    verdicts = [
        f"enough for {purpose} ({many:,})" if tokens >= many else f":orange[too short for {purpose} ({many:,})]"
        for purpose, many in needed.items()
    ]
    return f"{characters:,} characters, {about}{tokens:,} tokens: {', '.join(verdicts)}."


@st.cache_data(max_entries=8, show_spinner="Counting its tokens …")
def _count(path: str, model: str) -> tuple[int, int | None]:
    """Return the number of a text's characters, and of a model's tokens in it; both stay what they are."""
    from sds_core.models.text_reader import read_text
    from sds_core.models.token_count import count_tokens

    text = read_text(path)
    counted = count_tokens(Path(model), text[:COUNTED]) if model else None
    if counted is None or not text:
        return len(text), counted
    return len(text), counted * len(text) // len(text[:COUNTED])
