"""Widgets for a run's options, made from their declarations: a new option appears here by itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import streamlit as st

if TYPE_CHECKING:
    from sds_core.options import Option
    from sds_core.runs.config import RunConfig

MAIN = ("model", "pruner", "method", "pattern", "calibration", "samples", "length", "evaluation")
"""Always in view; the other options are in the expander."""
NOT_ASKED = ("phase", "checkpoint", "experiment")
"""The button that is pressed says which phase; a checkpoint is opened by a command of its own; the Studio names
experiments."""
IN_STUDIO = ("model", "pattern", "pruner", "method", "schedule", "title")
"""Options that the Studio sets elsewhere, or not at all."""
SUGGESTED = {
    "pattern": ("2:4", "4:8", "0.5", "0.7"),
    "calibration": ("self", "python-docs"),
    "evaluation": ("python-docs",),
    "device": ("auto", "cpu", "cuda"),
}
"""Offered beside whatever is typed in."""


def choose(pruners: tuple[str, ...]) -> dict[str, Any]:
    """Show all widgets, with these pruners to choose from; return the chosen values of `RunConfig`'s fields."""
    from sds_core.options import options_of
    from sds_core.pruning.methods import METHODS
    from sds_core.runs.presets import PRESETS

    _fill_in_defaults()
    asked = _asked()
    asked["pruner"] = dataclasses.replace(asked["pruner"], choices=pruners)
    st.segmented_control(
        "Preset", list(PRESETS), key="preset", on_change=_apply_preset, help="Fills in a named recipe; then change it."
    )
    _grid(asked[name] for name in MAIN)
    method = st.session_state[_key("method")]
    with st.expander("More options, and those of the method"):
        _grid(option for name, option in asked.items() if name not in MAIN)
        of_method = options_of(METHODS[method])
        st.markdown(f"**{METHODS[method].title}**" + ("" if of_method else " has no options of its own."))
        _grid(of_method.values(), method)
    return _chosen(list(asked))


def choose_shared(methods: Iterable[str]) -> None:
    """Show the widgets of what an experiment's runs share, and of each method's options."""
    from sds_core.options import options_of
    from sds_core.pruning.methods import METHODS

    _grid(option for name, option in _asked().items() if name not in IN_STUDIO)
    for method in methods:
        st.markdown(f"**{METHODS[method].title}**")
        _grid(options_of(METHODS[method]).values(), method)


def shared() -> dict[str, Any]:
    """Return the values of what an experiment's runs share, whether or not the widgets are in view."""
    _fill_in_defaults()
    return {name: st.session_state[_key(name)] for name in _asked() if name not in ("pruner", "method", "schedule")}


def of_method(method: str) -> dict[str, float]:
    """Return the chosen options of a method that differ from its defaults."""
    from sds_core.options import options_of
    from sds_core.pruning.methods import METHODS

    _fill_in_defaults()
    options = options_of(METHODS[method])
    asked = {name: st.session_state[_key(name, method)] for name in options}
    return {name: value for name, value in asked.items() if value not in (None, options[name].default)}


def apply_to_methods(values: dict[str, Any], methods: Iterable[str]) -> None:
    """Let the widgets show these options, and each method those of its own."""
    for name, value in values.items():
        if name not in ("options", "method", "schedule"):
            st.session_state[_key(name)] = value
    for method in methods:
        _set_method_options(method, values.get("options", {}))


def take_over(config: RunConfig) -> None:
    """Let the widgets show what a run was asked to do; one that opened a checkpoint says nothing that they know."""
    if config.checkpoint:
        return
    for name in _asked():
        st.session_state[_key(name)] = getattr(config, name)
    _set_method_options(config.method, config.options)
    st.session_state["preset"] = None


def _key(name: str, method: str = "") -> str:
    return f"option-{method}-{name}" if method else f"option-{name}"


def _asked() -> dict[str, Option]:
    """The options of a run that have a widget."""
    from sds_core.options import options_of
    from sds_core.runs.config import RunConfig

    return {name: option for name, option in options_of(RunConfig).items() if name not in NOT_ASKED}


def _fill_in_defaults() -> None:
    from sds_core.options import options_of
    from sds_core.pruning.methods import METHODS

    for name, option in _asked().items():
        st.session_state.setdefault(_key(name), option.default)
    for method, cls in METHODS.items():
        for name, option in options_of(cls).items():
            st.session_state.setdefault(_key(name, method), option.default)


def _set_method_options(method: str, options: dict[str, float]) -> None:
    from sds_core.options import options_of
    from sds_core.pruning.methods import METHODS

    for name, option in options_of(METHODS[method]).items():
        st.session_state[_key(name, method)] = type(option.default)(options.get(name, option.default))


def _apply_preset() -> None:
    from sds_core.runs.presets import PRESETS

    values = dict(PRESETS.get(st.session_state["preset"], {}))
    options = values.pop("options", {})
    asked = _asked()
    touched = {name for preset in PRESETS.values() for name in preset if name != "options"}
    for name in touched:  # also what only another preset sets, so that none lingers
        st.session_state[_key(name)] = values.get(name, asked[name].default)
    _set_method_options(st.session_state[_key("method")], options)


def _chosen(names: list[str]) -> dict[str, Any]:
    """The widgets' values; of the method's options only those that differ from their defaults."""
    values = {name: st.session_state[_key(name)] for name in names}
    return values | {"options": of_method(values["method"])}


def _grid(options: Iterable[Option], method: str = "") -> None:
    """Widgets beside each other, as many in a row as the window has room for."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        for option in options:
            _widget(option, method)


def _widget(option: Option, method: str) -> None:
    label = option.name.replace("_", " ").capitalize()
    key = _key(option.name, method)
    common: dict[str, Any] = {"key": key, "help": option.doc, "persist_state": "session", "width": 174}
    if choices := _choices(option, st.session_state[key]):
        st.selectbox(label, list(choices), format_func=lambda name: choices[name], **common)
    elif option.name in SUGGESTED:
        own = st.session_state[key]
        st.selectbox(label, list(dict.fromkeys([*SUGGESTED[option.name], own])), accept_new_options=True, **common)
    elif isinstance(option.default, bool):
        st.toggle(label, **common)
    elif isinstance(option.default, int | float):
        whole = isinstance(option.default, int)
        shape: dict[str, Any] = {"step": 1} if whole else {"step": 0.01, "format": "%g"}
        low, high = (limit if limit is None else type(option.default)(limit) for limit in (option.low, option.high))
        st.number_input(label, min_value=low, max_value=high, **shape, **common)
    else:
        st.text_input(label, **common)


def _choices(option: Option, own: str) -> dict[str, str]:
    """The values to choose from, each with its title; none where any value may be given."""
    from sds_core.pruning.methods import METHODS

    if option.name == "method":
        return {name: cls.title for name, cls in METHODS.items() if name != "checkpoint"}
    if option.name == "pruner":  # a plugin that a record names and that is missing is shown, and refused below
        return {name: name for name in (*option.choices, own)}
    return {name: name for name in option.choices}
