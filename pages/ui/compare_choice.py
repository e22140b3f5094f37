"""The runs that Compare offers: those of an experiment, or all that can be paired; the choice is in the address."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import streamlit as st

from pages.ui import layout
from pages.ui.compare_numbers import MOST, Asked
from pages.ui.compare_words import key_of, names
from sds_core.comparison.compare import sort_out
from sds_core.comparison.outcomes import Outcome, outcome_of
from sds_core.comparison.ranking import Group, grouped
from sds_core.errors import SDSError
from sds_core.runs.experiment import experiments
from sds_core.runs.run_folder import Run, ids, open_run

ALL = "all finished runs"
OFFERED = 12
"""Most configurations that the picture offers; the others are in a separate list."""
PARAMETERS = ("experiment", "runs", "ref", "a", "layer")


@dataclass(frozen=True)
class Choice:
    """The runs that can be compared."""

    offered: list[Group]
    more: list[Group]
    """Comparable as well, but not in the picture."""
    outcomes: list[Outcome]
    """All comparable outcomes, repetitions of a run included."""
    excluded: dict[str, str]
    """Why other runs cannot be compared, by id."""
    asked: Asked

    @property
    def every(self) -> set[str]:
        """The keys of all that is offered."""
        return set(map(key_of, self.offered))


def scope() -> str:
    """Show the box with the experiments, and return the name of the chosen one; empty for all finished runs."""
    known = [one.name for one in experiments() if one.settings.experiment]
    asked = st.query_params.get("experiment")
    if asked is not None and asked not in (*known, ""):
        layout.refuse(f"There is no experiment “{asked[:60]}”.")
        asked = None
    if asked is None:
        asked = _default(known)
    st.query_params["experiment"] = asked
    st.session_state["compare-scope"] = asked
    with st.container(key="scope"):
        st.selectbox(
            "Experiment",
            ["", *known],
            key="compare-scope",
            format_func=lambda name: name or ALL,
            on_change=_turn_to_scope,
            label_visibility="collapsed",
            width=220,
        )
    return asked


def choose(experiment: str, known: list[Outcome]) -> Choice:
    """Return the runs on offer and the selection."""
    every = _runs()
    asked = [name for name in st.query_params.get("runs", "").split(",") if name]
    unknown = [name for name in asked if name not in [run.id for run in every]]
    if unknown:
        layout.refuse("there is no run " + ", ".join(f"“{name[:60]}”" for name in unknown[:5]))
    inside = [run for run in every if not experiment or _experiment_of(run) == experiment or run.id in asked]
    kept, excluded = sort_out(sorted(inside, key=lambda run: run.id not in asked))
    outcomes = [found for run in kept if (found := outcome_of(run))]
    groups = grouped(outcomes, known)
    configurations = {one.configuration for one in outcomes if one.run in asked}
    picked = [group for group in groups if group.outcomes[0].configuration in configurations]
    offered = [*picked, *(group for group in groups if group not in picked)][: max(OFFERED, len(picked))]
    offered.sort(key=groups.index)
    chosen = picked or offered
    return Choice(
        offered,
        [group for group in groups if group not in offered],
        outcomes,
        excluded,
        Asked(
            runs=tuple(map(key_of, chosen)),
            ref=st.query_params.get("ref", ""),
            a=st.query_params.get("a", ""),
            layer=st.query_params.get("layer", ""),
        ),
    )


def add_more(choice: Choice) -> None:
    """Show a list of the configurations that the picture does not offer."""
    if not choice.more:
        return
    called = names(choice.more)

    def add() -> None:
        added = st.session_state["compare-more"][:MOST]
        st.query_params["runs"] = ",".join([*choice.asked.runs[: MOST - len(added)], *added])

    st.multiselect(
        f"{len(choice.more)} more can be compared with these",
        [key_of(group) for group in choice.more],
        key="compare-more",
        format_func=lambda key: " · ".join(filter(None, called[key])),
        on_change=add,
    )


def _runs() -> list[Run]:
    """Return all runs, newest first; one that has just gone is left out."""
    found = []
    for name in ids():
        try:
            found.append(open_run(name))
        except SDSError:
            continue
    return found


def _default(known: list[str]) -> str:
    """Return the default scope: that of the runs in the address, else the newest with two finished runs."""
    every, asked = _runs(), st.query_params.get("runs", "").split(",")
    if named := {_experiment_of(run) for run in every if run.id in asked}:
        return named.pop() if len(named) == 1 else ""
    finished = Counter(_experiment_of(run) for run in every if run.state() == "finished")
    return next((name for name in known if finished[name] > 1), "")


def _experiment_of(run: Run) -> str:
    try:
        return str(run.raw_config().get("experiment") or "")
    except SDSError:
        return ""


def _turn_to_scope() -> None:
    st.query_params.from_dict({"experiment": st.session_state["compare-scope"]})
