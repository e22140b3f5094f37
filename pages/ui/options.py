"""Widgets for a run's options, made from the dataclasses that define them: a new option appears here by itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

if TYPE_CHECKING:
    from sds_core.runs.config import RunConfig

MAIN = ("model", "pruner", "method", "pattern", "calibration", "samples", "length", "evaluation")
"""Always in view; the other fields of `RunConfig` are in the expander."""
NOT_ASKED = ("phase", "options", "parent", "checkpoint", "pruner_sha256")
"""Set by which button is pressed, by the method's own fields and by the pruner's file; a checkpoint is opened by a
command of its own."""
SUGGESTED = {
    "pattern": ("2:4", "4:8", "0.5", "0.7"),
    "calibration": ("self", "python-docs"),
    "evaluation": ("python-docs",),
    "device": ("auto", "cpu", "cuda"),
}
"""Offered beside whatever is typed in."""


def choose() -> dict[str, Any]:
    """All widgets; returns the chosen values of `RunConfig`'s fields."""
    from sds_core.pruning.methods import METHODS
    from sds_core.runs.config import PRESETS, RunConfig, describe

    _fill_in_defaults()
    documented = describe(RunConfig)
    fields = {f.name: f for f in dataclasses.fields(RunConfig) if f.name not in NOT_ASKED}
    st.segmented_control(
        "Preset", list(PRESETS), key="preset", on_change=_apply_preset, help="Fills in a named recipe; then change it."
    )
    _grid([(fields[name], documented[name]) for name in MAIN])
    method = st.session_state[_key("method")]
    with st.expander("More options, and those of the method"):
        _grid([(f, documented[name]) for name, f in fields.items() if name not in MAIN])
        of_method = dataclasses.fields(METHODS[method])
        st.markdown(f"**{METHODS[method].title}**" + ("" if of_method else " has no options of its own."))
        described = describe(METHODS[method])
        _grid([(f, described[f.name]) for f in of_method], method)
    return _chosen(list(fields))


def take_over(config: RunConfig) -> None:
    """Let the widgets show what a run was asked to do; one that opened a checkpoint says nothing that they know."""
    if config.checkpoint:
        return
    for name, value in config.to_dict().items():
        if name not in NOT_ASKED:
            st.session_state[_key(name)] = value
    _set_method_options(config.method, config.options)
    st.session_state["preset"] = None


def _key(name: str, method: str = "") -> str:
    return f"option-{method}-{name}" if method else f"option-{name}"


def _fill_in_defaults() -> None:
    from sds_core.pruning.methods import METHODS
    from sds_core.runs.config import RunConfig

    for f in dataclasses.fields(RunConfig):
        if f.name not in NOT_ASKED:
            st.session_state.setdefault(_key(f.name), f.default)
    for method, cls in METHODS.items():
        for name, default in vars(cls()).items():
            st.session_state.setdefault(_key(name, method), default)


def _set_method_options(method: str, options: dict[str, float]) -> None:
    from sds_core.pruning.methods import METHODS

    for name, default in vars(METHODS[method]()).items():
        st.session_state[_key(name, method)] = type(default)(options.get(name, default))


def _apply_preset() -> None:
    from sds_core.runs.config import PRESETS, RunConfig

    values = dict(PRESETS.get(st.session_state["preset"], {}))
    options = values.pop("options", {})
    defaults = {f.name: f.default for f in dataclasses.fields(RunConfig)}
    touched = {name for preset in PRESETS.values() for name in preset if name != "options"}
    for name in touched:  # also what only another preset sets, so that none lingers
        st.session_state[_key(name)] = values.get(name, defaults[name])
    _set_method_options(st.session_state[_key("method")], options)


def _chosen(names: list[str]) -> dict[str, Any]:
    """The widgets' values; of the method's options only those that differ from their defaults."""
    from sds_core.pruning.methods import METHODS

    values = {name: st.session_state[_key(name)] for name in names}
    method = values["method"]
    defaults = vars(METHODS[method]())
    asked = {name: st.session_state[_key(name, method)] for name in defaults}
    return values | {"options": {name: value for name, value in asked.items() if value not in (None, defaults[name])}}


def _grid(fields: list[tuple[dataclasses.Field, str]], method: str = "") -> None:
    """Widgets beside each other, as many in a row as the window has room for."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        for f, about in fields:
            _widget(f, about, method)


def _widget(f: dataclasses.Field, about: str, method: str) -> None:
    from sds_core.pruning.methods import METHODS
    from sds_core.pruning.registry import PRUNERS
    from sds_core.runs.config import ALLOCATIONS, DTYPES, SCHEDULES, WEIGHTS

    label = f.name.replace("_", " ").capitalize()
    common: dict[str, Any] = {"key": _key(f.name, method), "help": about, "persist_state": "session", "width": 174}
    known = list(PRUNERS)
    if f.name == "pruner" and st.session_state[common["key"]] not in known:
        known.append(st.session_state[common["key"]])  # of a record from elsewhere: shown, and refused with its reason
    fixed: dict[str, Sequence[str]] = {"pruner": known, "dtype": DTYPES, "schedule": SCHEDULES, "weights": WEIGHTS}
    fixed |= {"allocation": ALLOCATIONS, "method": [name for name in METHODS if name != "checkpoint"]}
    if f.name in fixed:
        titles = {name: cls.title for name, cls in METHODS.items()} if f.name == "method" else {}
        st.selectbox(label, fixed[f.name], format_func=lambda name: titles.get(name, name), **common)
    elif f.name in SUGGESTED:
        own = st.session_state[common["key"]]
        st.selectbox(label, list(dict.fromkeys([*SUGGESTED[f.name], own])), accept_new_options=True, **common)
    elif isinstance(f.default, bool):
        st.toggle(label, **common)
    elif isinstance(f.default, int):
        st.number_input(label, step=1, **common)
    elif isinstance(f.default, float):
        st.number_input(label, step=0.01, format="%g", **common)
    else:
        st.text_input(label, **common)
