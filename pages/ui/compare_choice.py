"""The runs that Compare offers: those of an experiment, or all that can be paired; the choice is in the address."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from pages.ui import layout
from pages.ui.compare_numbers import MOST, Asked
from pages.ui.compare_words import key_of, names
from sds_core.comparison.compare import sort_out
from sds_core.comparison.outcomes import Outcome, outcome_of
from sds_core.comparison.ranking import Group, grouped
from sds_core.runs.experiment import Experiment, experiments
from sds_core.runs.run_folder import Run, every_run

ALL = "all finished runs"
OFFERED = 12
"""Most configurations that the picture offers; the others are in a separate list."""
PARAMETERS = ("experiment", "runs", "ref", "a", "layer")


@dataclass(frozen=True)
class Choice:
    """The runs that can be compared."""

    scope: Experiment | None
    """The experiment that they are of, beside those asked for; None for all finished runs."""
    offered: list[Group]
    more: list[Group]
    """Comparable as well, but not in the picture."""
    outcomes: list[Outcome]
    """All comparable outcomes, repetitions of a run included."""
    excluded: dict[str, str]
    """Why other runs cannot be compared, by id."""
    asked: Asked
    """Its runs are all that is chosen, which may be more than the picture can show."""

    @property
    def every(self) -> set[str]:
        """The keys of all that is offered."""
        return set(map(key_of, self.offered))

    @property
    def chosen(self) -> list[Group]:
        """The configurations that are chosen, those too that the picture has no room for."""
        return [group for group in (*self.offered, *self.more) if key_of(group) in self.asked.runs]


def scope() -> Experiment | None:
    """Show the box with the experiments, and return the chosen one; None for all finished runs."""
    known = {one.name: one for one in experiments()}
    asked = st.query_params.get("experiment")
    if asked is not None and asked not in (*known, ""):
        layout.refuse(f"There is no experiment “{asked[:60]}”.")
        asked = None
    if asked is None:
        asked = _default(list(known.values()))
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
    return known.get(asked)


def asked_for() -> list[str]:
    """Return the runs in the address."""
    asked = [name for name in st.query_params.get("runs", "").split(",") if name]
    here = [run.id for run in every_run()]
    if unknown := [name for name in asked if name not in here]:
        layout.refuse("there is no run " + ", ".join(f"“{name[:60]}”" for name in unknown[:5]))
    return asked


def choose(experiment: Experiment | None, known: list[Outcome], asked: Sequence[str] = ()) -> Choice:
    """Return the runs on offer and the selection.

    Args:
        experiment: whose runs are on offer; None for all finished runs.
        known: what all finished runs measured, the oldest first.
        asked: ids of runs that are chosen, of any experiment.
    """
    inside = [run for run in every_run() if run.id in asked or _holds(experiment, run)]
    kept, excluded = sort_out(inside, asked)
    outcomes = [found for run in kept if (found := outcome_of(run))]
    groups = grouped(outcomes, known)
    configurations = {one.configuration for one in outcomes if one.run in asked}
    picked = [group for group in groups if group.outcomes[0].configuration in configurations]
    offered = [*picked, *(group for group in groups if group not in picked)][: max(OFFERED, len(picked))]
    offered.sort(key=groups.index)
    chosen = picked or groups
    return Choice(
        experiment,
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


def _holds(experiment: Experiment | None, run: Run) -> bool:
    """Whether a run is of an experiment; one that names it is, though it cannot be read."""
    if experiment is None:
        return True
    return run.experiment == experiment.name or any(run == member for member, _ in experiment.members)


def _default(known: list[Experiment]) -> str:
    """Return the default scope: that of the runs in the address, else the newest named one with two finished runs."""
    asked = st.query_params.get("runs", "").split(",")
    if theirs := {run.experiment for run in every_run() if run.id in asked}:
        return theirs.pop() if len(theirs) == 1 else ""
    named = (one for one in known if one.settings.experiment)
    return next((one.name for one in named if sum(run.state() == "finished" for run, _ in one.members) > 1), "")


def _turn_to_scope() -> None:
    st.query_params.from_dict(layout.onward({"experiment": st.session_state["compare-scope"]}))
