"""Report: a run's numbers and pictures as files, the command that repeats it, and what to cite."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import streamlit as st

from pages.ui import charts, layout, progress, run_panel

if TYPE_CHECKING:
    from sds_core.runs.run_folder import Run

layout.routed()

FILES = {
    ".html": (
        "Report",
        "text/html",
        "One page with pictures, tables, settings and hashes; needs nothing else; prints on A4.",
    ),
    ".csv": ("Statistics", "text/csv", "Every layer and stage, a row each; opens in a spreadsheet."),
    ".json": ("Everything", "application/json", "The whole record with its histograms, for programs."),
}
CITATION = """@inproceedings{li2025sds,
  author    = {Li and others},
  title     = {Enhancing One-shot Pruned Pre-trained Language Models through Sparse-Dense-Sparse Mechanism},
  booktitle = {Proceedings of COLING 2025},
  year      = {2025},
  note      = {arXiv 2408.10473}
}"""


@st.cache_data(max_entries=4, show_spinner=False)
def rendered(folder: str, stamp: tuple) -> dict[str, str]:
    """A report's files, kept until the note or any run's result changes: it compares the run with others."""
    from pathlib import Path

    from sds_core.reports import report
    from sds_core.runs.run_folder import Run

    return report.rendered(Run(Path(folder)))


def content(run: Run, suffix: str) -> bytes:
    """One file of the report."""
    from sds_core.runs import note

    results = ((path.parent.name, path.stat().st_mtime_ns) for path in run.folder.parent.glob("*/result.json"))
    stamp = note.read(run), *sorted(results)
    return rendered(str(run.folder), stamp)[suffix].encode()


def files(run: Run) -> None:
    """A button and a sentence for every file."""
    for suffix, (title, kind, sentence) in FILES.items():
        with st.container(horizontal=True, vertical_alignment="center"):
            st.download_button(
                f"{title} ({suffix[1:].upper()})",
                partial(content, run, suffix),
                file_name=run.id + suffix,
                mime=kind,
                key=f"file-{suffix[1:]}",
                icon=":material/download:",
                on_click="ignore",
                width=200,
            )
            st.markdown(sentence)
    with st.container(horizontal=True, vertical_alignment="center"):
        run_panel.download(run, width=200)
        st.markdown("The record for another computer: its Studio imports it under “Runs”.")
    st.markdown(
        "A single picture as PNG: the camera that appears above a chart under the pointer, on every page and in the "
        "report, saves it three times as large as on the screen."
    )


def repeat(run: Run) -> None:
    """Everything needed to get the same numbers again."""
    result = run.finished_result()
    st.subheader("Repeat it", anchor=False)
    st.code(result.command, language="bash", wrap_lines=True)
    software = result.software
    made_with = f"SDS Studio {software.version}, Python {software.python}, "
    made_with += f"torch {software.torch}, transformers {software.transformers}"
    digests = f"calibration {result.calibration.sha256[:12]}…, evaluation {result.evaluation.sha256[:12]}…"
    made = layout.plain(f"Made with {made_with} on {software.machine}.")
    st.caption(f"{made} SHA-256 of the windows of text: {layout.plain(digests)}.")
    st.subheader("Cite the method", anchor=False)
    st.code(CITATION, language="bibtex", wrap_lines=True)


st.title("How do I keep, repeat and cite this?", anchor=False)
with st.spinner("Loading the engine …"):
    run = layout.choose_run("report-run")
if run:
    result = run.result()
    if result is None:
        with st.container(horizontal=True, vertical_alignment="center"):
            progress.badge(run.state())
            st.markdown("There is a report once the run has finished.")
    else:
        last = result.last_perplexity
        name = layout.plain(run.config.title) or run.id
        perplexity = f"{charts.number(last.value)}, {charts.ratio(last.against_dense)} of the dense model’s"
        st.markdown(f"##### {name}: perplexity {perplexity}")
        st.caption(run_panel.about(run.config))
        run_panel.show_note(run)
        files(run)
        run_panel.left_as_they_are(run)
        repeat(run)
