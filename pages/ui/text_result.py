"""The result of a text query: the judgement, the means, and one prompt with every model beside the others."""

from __future__ import annotations

import streamlit as st

from pages.ui import layout, url_state
from sds_core.figures import text as figures
from sds_core.figures import text_means
from sds_core.figures.markup import html
from sds_core.texts.judgement import judgement, sentences
from sds_core.texts.query import TextResult

STYLE = """<style>
.st-key-text-verdict h2 { font-size: 22px; line-height: 28px; font-weight: 600; letter-spacing: -0.01em; padding: 0;
  margin: 0; }
.st-key-text-verdict p { font-size: 14px; line-height: 20px; margin: 4px 0 0; opacity: 0.8; }
.st-key-text-answer h3 { font-size: 16px; line-height: 22px; font-weight: 600; padding: 0; margin: 0 0 6px; }
.st-key-text-answer { gap: 10px; padding-top: 8px; }
@media (min-width: 901px) {
  .st-key-text-top { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: 32px; }
}
</style>"""


def show(result: TextResult) -> None:
    """Show the result at the prompt that the address names."""
    st.html(STYLE)
    with st.container(key="text-answer"):
        with st.container(key="text-top"):
            with st.container(key="text-verdict"):
                _verdict(result)
            st.html("<h3>How much more surprised than the dense model?</h3>" + text_means.means(result))
        number, sampled = _choose(result)
        st.html(figures.beside(result, number, sampled))
        st.html(figures.legend())


def notes(result: TextResult) -> None:
    """Show the judgement against every model and the numbers of the prompt in view, each behind a button."""
    with st.popover("All comparisons"):
        for sentence in sentences(result, lambda name: f"**{layout.plain(name)}**"):
            st.markdown(sentence)
        st.caption(
            "Judged by the mean loss over the tokens of all prompts, ± its paired standard error over prompts, and "
            "over the calibration seeds among the runs. Compare judges by many windows of text."
        )
    with st.popover("Numbers"):
        _numbers(result, _in_view(result) - 1)


def _verdict(result: TextResult) -> None:
    """Show the best configuration against the next best as a heading, and how certain that is."""
    judged = judgement(result, lambda name: html(name).replace(" ", "&nbsp;"))
    if not judged:
        st.html("<h2>What pruning does to the way a model reads and writes</h2>")
        return
    said, why = judged[0]
    st.html(f"<h2>{said}.</h2><p>{why[:1].upper()}{why[1:]}.</p>")


def _choose(result: TextResult) -> tuple[int, bool]:
    """Show which prompt is in view, and which continuation; return its number, from 0, and whether it is sampled."""
    st.session_state["text-prompt"] = _in_view(result)
    how = url_state.choice("continued", ("greedy", "sampled"), "greedy") if result.temperature is not None else "greedy"
    st.session_state["text-continued"] = how
    with st.container(horizontal=True, vertical_alignment="center"):
        st.segmented_control(
            "Prompt",
            range(1, len(result.prompts) + 1),
            key="text-prompt",
            required=True,
            format_func=lambda number: f"Prompt {number}",
            on_change=url_state.write,
            args=("prompt", "text-prompt"),
            label_visibility="collapsed",
        )
        if result.temperature is not None:
            st.segmented_control(
                "Continuation",
                ("greedy", "sampled"),
                key="text-continued",
                required=True,
                on_change=url_state.write,
                args=("continued", "text-continued"),
                label_visibility="collapsed",
                help=f"Sampled at temperature {result.temperature:g}, seed {result.sampling_seed}.",
            )
    return st.session_state["text-prompt"] - 1, st.session_state["text-continued"] == "sampled"


def _in_view(result: TextResult) -> int:
    """Return the prompt that the address names, from 1."""
    return url_state.whole("prompt", 1, len(result.prompts), 1)


def _numbers(result: TextResult, number: int) -> None:
    """Show the losses of one prompt as a table."""
    import pandas as pd

    dense, *others = ((reading.name, reading.prompts[number]) for reading in result.readings)
    columns: dict[str, list] = {"token": [repr(piece)[1:-1] for piece in result.pieces[number]]}
    columns |= {f"{name}, nats": [None, *reading.losses] for name, reading in (dense, *others)}
    columns |= {f"{name} − dense": [None, *reading.above(dense[1])] for name, reading in others}
    st.dataframe(
        pd.DataFrame(columns),
        key="text-numbers",
        hide_index=True,
        width=720,
        column_config=dict.fromkeys(list(columns)[1:], st.column_config.NumberColumn(format="%.3f")),
        alt="Loss of every token under every model, and its difference to the dense model's",
    )
