"""Report: a run's numbers and figures as files, the commands that repeat it, and what to cite."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from pages.ui import charts, layout, progress, run_panel, url_state
from sds_core.pruning.perplexity import format_perplexity

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
STYLE = """<style>
.st-key-report { gap: 6px; padding-top: 8px; }
.st-key-report h2 { font-size: 18px; line-height: 24px; font-weight: 600; padding: 0; margin: 8px 0 0; }
.st-key-report p { font-size: 15px; line-height: 20px; }
.st-key-report .stCode pre { padding: 10px 14px; font-size: 13px; line-height: 18px; }
.st-key-report .stCode code { font-size: inherit; line-height: inherit; }
</style>"""
CITATION = """@inproceedings{li2025sds,
  author = {Li, Guanchen and Zhao, Xiandong and Liu, Lian and Li, Zeping and Xu, Yixing and Li, Dong and
            Tian, Lu and He, Jie and Sirasao, Ashish and Barsoum, Emad},
  title = {Enhancing One-Shot Pruned Pre-trained Language Models through Sparse-Dense-Sparse Mechanism},
  booktitle = {Proceedings of the 31st International Conference on Computational Linguistics (COLING 2025)},
  pages = {1718--1735}, year = {2025}, note = {arXiv 2408.10473},
  url = {https://aclanthology.org/2025.coling-main.117/}
}"""


@st.cache_data(max_entries=4, show_spinner=False)
def rendered(folder: str, stamp: tuple) -> dict[str, str]:
    """Return a report's files, cached until the note or any run's result changes, since it compares runs."""
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
    st.html("<h2>Keep it</h2>")
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
        st.markdown("The record for another computer: “Runs” in its Studio imports it.")


def repeat(run: Run) -> None:
    """Everything needed to get the same numbers again."""
    from sds_core.runs import planned

    result = run.finished_result()
    st.html("<h2>Repeat it</h2>")
    st.code("\n".join(planned.repeat(run.config)), language=None, wrap_lines=True)
    software = result.software
    made_with = f"SDS Studio {software.version}, Python {software.python}, "
    made_with += f"torch {software.torch}, transformers {software.transformers}"
    digests = f"calibration {result.calibration.sha256[:12]}…, evaluation {result.evaluation.sha256[:12]}…"
    made = layout.plain(f"Made with {made_with} on {software.machine}.")
    st.caption(f"{made} SHA-256 of the windows of text: {layout.plain(digests)}")
    st.html("<h2>Cite the method</h2>")
    st.code(CITATION, language=None, wrap_lines=True)


def words(run: Run) -> None:
    """Show what the run measured, its note, and how a single picture is kept."""
    last = run.finished_result().last_perplexity
    name = layout.plain(run.config.title) or run.id
    st.markdown(
        f"**{name}: perplexity {format_perplexity(last.value)}**, "
        f"{charts.ratio(last.against_dense)} of the dense model’s."
    )
    st.caption(run_panel.about(run.config))
    run_panel.show_note(run)
    st.caption(
        "To save a figure as PNG, point at it and press the camera above it, here or in the report; the file is three "
        "times as large as on the screen."
    )


def page() -> None:
    """The run on the left, its files, its command and the citation on the right."""
    with st.container(key="columns"):
        with st.container(key="beside-report"):
            st.html("<h1>How do I keep, repeat and cite this?</h1>")
            url_state.remember("report address", ("run",))
            run = layout.choose_run("report-run")
            finished = run is not None and run.result() is not None
            if run and finished:
                words(run)
        with st.container(key="report"):
            if run and finished:
                files(run)
                repeat(run)
                run_panel.show_excluded(run)
            elif run:
                with st.container(horizontal=True, vertical_alignment="center"):
                    progress.badge(run.state())
                    st.markdown("There is a report once the run has finished.")


layout.compact(size=15)
st.html(STYLE)
with st.spinner("Loading the engine …"):  # pandas and torch take seconds the first time: the navigation need not wait
    import sds_core.runs.run_folder  # noqa: F401
page()
