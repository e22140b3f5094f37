"""Tools around a run: note, download, removal, import."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Literal

import streamlit as st

from pages.ui import layout
from sds_core.errors import SDSError

if TYPE_CHECKING:
    from sds_core.runs.config import RunConfig
    from sds_core.runs.run_folder import Run

MANAGED = "manage"
"""In the address: the run whose panel is open."""


def about(config: RunConfig) -> str:
    """Return method, pruner, pattern and model of a run, in a line."""
    from sds_core.runs.names import name_of

    return f"{name_of(config)} · {config.pattern} · {layout.plain(config.model)}"


def edit_note(run: Run) -> None:
    """Show the run's note in a text area."""
    from sds_core.runs import note

    key = f"note-{run.id}"
    refused, fault = st.session_state.pop("note-fault", ("", ""))
    if refused != run.id:  # else what was typed stays in view
        try:
            st.session_state[key] = note.read(run)
        except SDSError as error:
            layout.refuse(error)
            return
    st.text_area(
        "Note",
        key=key,
        height="content",
        max_chars=note.LONGEST,
        placeholder="What is this run for? What did it show? Kept with it, in lists, reports and its packed record.",
        on_change=_write_note,
        args=(run, key),
    )
    if refused == run.id:
        layout.refuse(fault)


def show_note(run: Run) -> None:
    """Show the run's note, read-only."""
    from sds_core.runs import note

    try:
        if text := note.read(run):
            st.text(text)
    except SDSError as error:
        layout.refuse(error)


def _write_note(run: Run, key: str) -> None:
    from sds_core.runs import note

    try:
        note.write(run, st.session_state[key])
    except SDSError as error:
        st.session_state["note-fault"] = (run.id, str(error))


def show_excluded(run: Run) -> None:
    """Show the excluded layers and why, if there are any."""
    import pandas as pd

    from sds_core.runs.events import ModelLoaded, first
    from sds_core.runs.excluded_layers import excluded_layers

    loaded = first(run.log.read(), ModelLoaded)
    found = excluded_layers(loaded.excluded) if loaded else []
    if not found:
        return
    count = sum(each.count for each in found)
    with st.expander("One layer is not pruned" if count == 1 else f"{count:,} layers are not pruned"):
        rows = [
            {"why": each.reason, "layers": each.count, "names": layout.plain(", ".join(each.names))} for each in found
        ]
        st.table(pd.DataFrame(rows), hide_index=True, alt="Layers that are not pruned, by reason")
        st.caption("Outside the blocks, embeddings and the output layer are never pruned.")


def tools(run: Run, state: str) -> None:
    """Offer a finished run's record as a file, and the removal of the run."""
    with st.container(horizontal=True):
        if state == "finished":
            download(run)
        with st.popover("Delete", icon=":material/delete:", key="delete"):
            st.markdown(f"Remove **{run.id}** with all its weights?")
            if st.button("Yes, remove it", key="really-delete", type="primary"):
                _remove(run)


def download(run: Run, width: int | Literal["content"] = "content") -> None:
    """Show the button that downloads a finished run's record."""
    st.download_button(
        "Its record (ZIP)",
        lambda: _packed(run),
        file_name=f"{run.id}.zip",
        mime="application/zip",
        key="pack",
        icon=":material/download:",
        on_click="ignore",
        help="Numbers and distributions without weights; import the file to look at them elsewhere.",
        width=width,
    )


def _packed(run: Run) -> bytes:
    from sds_core.runs.archive import pack

    file = io.BytesIO()
    pack(run, file)
    return file.getvalue()


def offer_removal(name: str) -> None:
    """Show the button that deletes a run which cannot be shown."""
    from sds_core.runs.run_folder import Run, ids, root

    if name in ids():
        label = f"Delete {name}"
        if st.button(label, key=f"delete-{name}", icon=":material/delete:"):
            _remove(Run(root() / name))


def _remove(run: Run) -> None:
    """Remove a run, and draw the page anew: a dialog alone would still know the run."""
    from sds_core.runs.experiment import experiments

    try:
        run.delete()
    except SDSError as error:
        st.session_state["refused"] = str(error)
    else:
        st.query_params[MANAGED] = "all"
        if st.query_params.get("experiment") not in [one.name for one in experiments()]:
            st.query_params.pop("experiment", None)
    st.rerun()


def importer() -> None:
    """Import a run that was packed elsewhere."""
    from sds_core.runs.archive import unpack

    with st.expander("Import a packed run"):
        file = st.file_uploader("A file that “Its record (ZIP)” or `pack` has written", type="zip", key="packed")
        if file is not None and st.session_state.get("imported") != file.file_id:
            try:
                run = unpack(file)
            except SDSError as error:
                layout.refuse(error)
                return
            st.session_state["imported"] = file.file_id
            st.query_params[MANAGED] = run.id
            st.rerun()
