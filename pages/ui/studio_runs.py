"""All experiments and their runs, as a dialog of the Studio with an address of its own: `?manage=RUN`."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import streamlit as st

from pages.ui import layout, run_panel, run_summary
from pages.ui.run_panel import MANAGED
from sds_core.errors import SDSError

if TYPE_CHECKING:
    from sds_core.options import Overrides
    from sds_core.runs.config import RunConfig
    from sds_core.runs.experiment import Experiment
    from sds_core.runs.run_folder import Run

OPENED, SHOWN = "runs-experiment", "runs-run"
"""Keys of the two boxes."""
TURNED = "runs-asked"
"""Session key of the run in the address that the boxes have turned to."""


def open_on(run: str) -> None:
    """For a button: open the dialog on a run, or on all."""
    st.query_params[MANAGED] = run


def asked_for() -> bool:
    """Return whether the address asks for the dialog."""
    return MANAGED in st.query_params


def show(known: list[Experiment], current: Experiment | None) -> None:
    """Open the dialog.

    Args:
        known: all experiments.
        current: the one that the Studio shows, if any.
    """

    @st.dialog("Experiments and runs", width="large", on_dismiss=_closed)
    def dialog() -> None:
        if refused := st.session_state.pop("refused", None):
            layout.refuse(refused)
        _unknown(st.query_params.get(MANAGED, "all"))
        _broken(known)
        if known:
            experiment = _choose_experiment(known, current)
            run, _ = _choose_run(experiment)
            st.session_state[TURNED] = st.query_params.get(MANAGED, "")
            try:
                run_summary.show(run, _working(current) if current and current.name == experiment.name else {})
            except SDSError as error:
                layout.refuse(error)
                run_panel.offer_removal(run.id)
        else:
            st.caption("There are no runs yet. Close this and press **Prune**, or import one.")
        run_panel.importer()

    dialog()


def _working(current: Experiment) -> Overrides:
    """Return the working options that are chosen on the page."""
    from sds_core.runs.experiment import Working

    return dataclasses.asdict(Working.of(current.settings))


def name_of_member(config: RunConfig) -> str:
    """Return what to call a run inside its experiment."""
    from sds_core.runs.names import name_of

    return f"Phase {config.phase} · {name_of(config)}" if config.phase else name_of(config)


def _choose_experiment(known: list[Experiment], current: Experiment | None) -> Experiment:
    """Show the box of experiments with the button that opens one in the Studio."""
    names = [one.name for one in known]
    asked = st.query_params.get(MANAGED, "")
    holder = next((one.name for one in known for run, _ in one.members if run.id == asked), None)
    default = holder or (current.name if current and current.name in names else names[0])
    labels = {one.name: f"{one.name} · {layout.plain(one.settings.model)} · {one.settings.pattern}" for one in known}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.session_state.setdefault(OPENED, default)
        if st.session_state[OPENED] not in names or (holder and st.session_state.get(TURNED) != asked):
            st.session_state[OPENED] = default
        chosen = st.selectbox("Experiment", names, key=OPENED, format_func=lambda name: labels[name])
        if st.button("Open in the Studio", key="open-experiment", icon=":material/open_in_new:"):
            st.query_params.from_dict(layout.onward({"experiment": chosen}))
            st.session_state.pop("studio of", None)
            st.rerun()
    return next(one for one in known if one.name == chosen)


def _choose_run(experiment: Experiment) -> tuple[Run, RunConfig]:
    """Show the box of an experiment's runs, by phase and name."""
    members = {run.id: (run, config) for run, config in experiment.members}
    asked = st.query_params.get(MANAGED, "")
    if asked in members and st.session_state.get(TURNED) != asked:
        st.session_state[SHOWN] = asked
    elif st.session_state.get(SHOWN) not in members:
        st.session_state[SHOWN] = next(iter(members))
    name = st.selectbox(
        "Run", list(members), key=SHOWN, format_func=lambda one: f"{name_of_member(members[one][1])} · {one[-6:]}"
    )
    return members[name]


def _unknown(asked: str) -> None:
    """Say so where the address names no run."""
    from sds_core.runs.run_folder import open_run

    try:
        if asked != "all":
            open_run(asked)
    except SDSError as error:
        layout.refuse(error)


def _broken(known: list[Experiment]) -> None:
    """Name the runs that cannot be read, each with the button that deletes it."""
    from sds_core.runs.run_folder import ids

    sound = {run.id for one in known for run, _ in one.members}
    for name in ids():
        if name not in sound:
            layout.refuse(_fault(name))
            run_panel.offer_removal(name)


def _fault(name: str) -> str:
    """Return why a run cannot be read."""
    from sds_core.runs.run_folder import open_run

    try:
        run = open_run(name)
        _ = run.config, run.state()
    except SDSError as error:
        return str(error)
    return f"run {name} cannot be read"


def _closed() -> None:
    """Take the dialog out of the address."""
    st.query_params.pop(MANAGED, None)
    st.session_state.pop(TURNED, None)
