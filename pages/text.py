"""Text: one text through the dense model and what finished runs made of it, read and gone on with."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import streamlit as st

from pages.ui import glossary_box, layout, progress, url_state
from sds_core.errors import SDSError
from sds_core.lesson.glossary import GLOSSARY
from sds_core.runs import progress as run_progress

if TYPE_CHECKING:
    from sds_core.runs.run_folder import Run
    from sds_core.texts.job import TextJob
    from sds_core.texts.query import TextQuery, TextResult

layout.routed()

LONGEST = 8_100
"""Characters of all prompts together."""
TEMPERATURES = [f"{tenths / 10:g}" for tenths in range(21)]


def example() -> TextResult:
    """The result that comes along."""
    from sds_core.runs.typed_json import parse
    from sds_core.texts.query import EXAMPLE, TextResult

    return parse(TextResult, EXAMPLE.read_text(encoding="utf-8"))


def nothing_to_ask() -> None:
    """Advice where no run has weights, with an example of what the page shows."""
    st.info(
        "None of the runs here has its weights: the demo’s finished runs came without them. To ask about a text of "
        "your own, start the demo on the Start page, or make runs on the Run page; weights are kept unless you say "
        "otherwise.",
        icon=":material/info:",
    )
    with st.container(horizontal=True):
        st.page_link("pages/start.py", label="Start the demo", icon=":material/play_arrow:")
        st.page_link("pages/studio.py", label="Make a run", icon=":material/tune:")
    st.markdown("**An example**, from runs with the demo’s options:")
    show(example())


def choose(runs: list[Run]) -> TextQuery | None:
    """Runs, prompts and how they are continued, in widgets and in the address; None, with the reason, if that is no
    query."""
    from sds_core.runs.names import called
    from sds_core.texts.query import MOST_FOLLOWING, MOST_RUNS, TextQuery

    names = called({run.id: run.config for run in runs})
    st.session_state["text-runs"] = _asked_for(runs, MOST_RUNS)
    st.session_state["text-prompt"] = _prompts()
    st.session_state["text-tokens"] = url_state.whole("tokens", 1, MOST_FOLLOWING, TextQuery.tokens)
    st.session_state["text-temperature"] = float(url_state.choice("temperature", TEMPERATURES, "0"))
    st.session_state["text-seed"] = url_state.whole("sampling-seed", 0, 999, TextQuery.sampling_seed)

    def turn() -> None:
        st.query_params["runs"] = ",".join(name for name in names if name in st.session_state["text-runs"])
        st.query_params["prompt"] = st.session_state["text-prompt"]
        st.query_params["tokens"] = str(st.session_state["text-tokens"])
        st.query_params["temperature"] = f"{st.session_state['text-temperature']:g}"
        st.query_params["sampling-seed"] = str(st.session_state["text-seed"])

    st.multiselect(
        "Beside the dense model",
        list(names),
        key="text-runs",
        format_func=names.__getitem__,
        max_selections=MOST_RUNS,
        on_change=turn,
        help="Finished runs of one model whose weights were kept. Runs that differ in the seed alone are judged by "
        "their mean.",
    )
    st.text_area(
        "Prompts, blank lines between them",
        key="text-prompt",
        max_chars=LONGEST,
        height=150,
        on_change=turn,
        help="Every model reads each and continues it as it stands: without a chat template, as with any text.",
    )
    with st.container(horizontal=True):
        st.number_input(
            "Tokens that follow",
            1,
            MOST_FOLLOWING,
            key="text-tokens",
            on_change=turn,
            width=174,
            help=GLOSSARY["greedy"],
        )
        st.number_input(
            "Temperature",
            0.0,
            2.0,
            step=0.1,
            format="%.1f",
            key="text-temperature",
            on_change=turn,
            width=174,
            help="Above 0, each model writes a second continuation, whose tokens are drawn by their probability.",
        )
        st.number_input("Seed of sampling", 0, 999, key="text-seed", on_change=turn, width=174)
    try:
        return TextQuery(
            runs=tuple(name for name in names if name in st.session_state["text-runs"]),
            prompts=split(st.session_state["text-prompt"]),
            tokens=st.session_state["text-tokens"],
            temperature=st.session_state["text-temperature"] or None,
            sampling_seed=st.session_state["text-seed"],
        )
    except SDSError as error:
        layout.refuse(error)
        return None


def split(text: str) -> tuple[str, ...]:
    """The prompts in a text: blank lines part them."""
    return tuple(prompt.strip("\n") for prompt in re.split(r"\n[ \t]*\n", text) if prompt.strip())


def _asked_for(runs: list[Run], most: int) -> list[str]:
    """The runs in the address that can be asked; else the newest of one model, the oldest of them first."""
    here = [run.id for run in runs]
    if "runs" not in st.query_params:
        alike = [run.id for run in runs if run.config.model == runs[-1].config.model]
        return alike[-most:]
    asked = list(dict.fromkeys(filter(None, st.query_params["runs"].split(","))))
    if unknown := [name for name in asked if name not in here]:
        layout.refuse("there is no finished run with weights " + ", ".join(f"“{name[:60]}”" for name in unknown[:5]))
    found = [name for name in here if name in asked]
    if len(found) > most:
        layout.refuse(f"{len(found)} runs are in the address, {most} are allowed: the oldest are taken")
    return found[:most]


def _prompts() -> str:
    """The prompts in the address; the example's where there are none."""
    asked = st.query_params["prompt"] if "prompt" in st.query_params else "\n\n".join(example().prompts)
    if len(asked) > LONGEST:
        layout.refuse(
            f"the text in the address has {len(asked)} characters, {LONGEST} are allowed: the rest is cut off"
        )
    return asked[:LONGEST]


def ask(query: TextQuery) -> TextJob | None:
    """The button that starts a process, and how far it has come; the query's folder."""
    from sds_core.texts.job import TextJob

    try:
        job = TextJob.of(query)
        state = job.state()
        live = state in progress.LIVE
        if st.button("Ask the models", key="ask", type="primary", icon=":material/forum:", disabled=live):
            job.launch(query)
            st.rerun()
    except SDSError as error:
        layout.refuse(error)
        return None
    if live:
        follow(job, state)
    else:
        explain(job, state)
    return job


def follow(job: TextJob, state: str) -> None:
    """Progress of the process, polled while it lives; the page is drawn anew when its state changes."""

    @st.fragment(run_every=0.5)
    def poll() -> None:
        try:
            events = job.log.read()
        except SDSError as error:
            layout.refuse(error)
            return
        if job.state(events) != state:
            st.rerun()
        text = layout.plain(run_progress.progress(events).activity)
        progress.cancellable(job, "Cancelling …" if job.cancel_requested else text)

    poll()


def explain(job: TextJob, state: str) -> None:
    """Why there is no result yet."""
    match state:
        case "failed":
            layout.refuse(run_progress.progress(job.log.read()).message)
        case "cancelled":
            st.info("Cancelled.", icon=progress.STATES[state][1])
        case "interrupted":
            st.warning("The process that worked on this is gone; ask again.", icon=progress.STATES[state][1])


def show(result: TextResult) -> None:
    """The judgement, both pictures of every prompt, and the numbers as tables."""
    from sds_core.figures import text as figures
    from sds_core.texts.judgement import judgement

    for sentence in judgement(result, lambda name: f"**{layout.plain(name)}**"):
        st.markdown(sentence)
    st.caption(
        "Judged by the mean loss over the tokens of all prompts, ± its paired standard error over prompts, and over "
        "the calibration seeds among the runs. Compare judges by many windows of text."
    )
    st.subheader("How each goes on", anchor=False)
    for number, prompt in enumerate(result.prompts):
        _quote(prompt)
        st.html(figures.written(result, number))
        if result.temperature is not None:
            st.caption(f"The same at temperature {result.temperature:g}, seed {result.sampling_seed}:")
            st.html(figures.sampled(result, number))
    st.caption(
        "Greedy: the likeliest token each time, so the same whenever one asks; models that write like that repeat "
        "themselves, pruned ones more. Faded: as the dense model writes. Without a chat template: the models go on "
        "with the text as with any other."
    )
    st.subheader("What each did not expect", anchor=False)
    st.html(figures.legend())
    for number in range(len(result.prompts)):
        st.html(figures.read(result, number))
    st.caption("Point at a token for its numbers; they are all in the tables.")
    with st.expander("The same in numbers"):
        for number in range(len(result.prompts)):
            _numbers(result, number)


def _quote(prompt: str) -> None:
    """A prompt as it stands."""
    st.code(prompt, language=None, wrap_lines=True)


def _numbers(result: TextResult, number: int) -> None:
    """The losses of one prompt as a table."""
    import pandas as pd

    dense, *others = ((reading.name, reading.prompts[number]) for reading in result.readings)
    columns: dict[str, list] = {"token": [repr(piece)[1:-1] for piece in result.pieces[number]]}
    columns |= {f"{name}, nats": [None, *reading.losses] for name, reading in (dense, *others)}
    columns |= {f"{name} − dense": [None, *reading.above(dense[1])] for name, reading in others}
    st.dataframe(
        pd.DataFrame(columns),
        key=f"numbers-{number}",
        hide_index=True,
        column_config=dict.fromkeys(list(columns)[1:], st.column_config.NumberColumn(format="%.3f")),
        alt="Loss of every token under every model, and its difference to the dense model's",
    )


st.title("What does the difference sound like?", anchor=False)
st.markdown("The same texts through the dense model and through what your runs made of it, token by token.")
with st.spinner("Loading the engine …"):
    from sds_core.texts.job import askable

    every = askable()
if not every:
    nothing_to_ask()
elif query := choose(every):
    if job := ask(query):
        try:
            result = job.result()
        except SDSError as error:
            layout.refuse(error)
        else:
            if result:
                show(result)
    st.markdown("The same on the command line:")
    st.code(query.command(), language="bash", wrap_lines=True)
glossary_box.explain("token", "loss", "greedy", "dense", "perplexity")
