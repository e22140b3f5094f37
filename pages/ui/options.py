"""Widgets for a run's options, made from their declarations: a new option appears here by itself."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import streamlit as st

from pages.ui import own_text

if TYPE_CHECKING:
    from sds_core.options import Option, Overrides

WITHOUT_WIDGET = ("phase", "checkpoint", "experiment")
"""The buttons choose the phase, a checkpoint is inspected on the command line, and the Studio names experiments."""
IN_STUDIO = ("model", "pattern", "pruner", "method", "schedule", "title")
"""Options that the Studio sets elsewhere, or not at all."""
SUGGESTED = {
    "pattern": ("2:4", "4:8", "0.5", "0.7"),
    "calibration": ("self", "python-docs"),
    "evaluation": ("python-docs",),
}
"""Suggestions; any other value can be typed. Of devices, those of this machine are suggested."""


def choose_shared(methods: Iterable[str]) -> None:
    """Show the widgets of what an experiment's runs share, and of each method's options."""
    from sds_core.options import options_of
    from sds_core.pruning.methods import METHODS

    _grid(option for name, option in _with_widget().items() if name not in IN_STUDIO)
    for method in methods:
        st.markdown(f"**{METHODS[method].title}**")
        _grid(options_of(METHODS[method]).values(), method)


def shared() -> Overrides:
    """Return the values of what an experiment's runs share, whether or not the widgets are in view."""
    _fill_in_defaults()
    return {
        name: st.session_state[_key(name)] for name in _with_widget() if name not in ("pruner", "method", "schedule")
    }


def of_method(method: str) -> dict[str, float]:
    """Return the chosen options of a method that differ from its defaults."""
    from sds_core.options import options_of
    from sds_core.pruning.methods import METHODS

    _fill_in_defaults()
    return differing(method, {name: st.session_state[_key(name, method)] for name in options_of(METHODS[method])})


def differing(method: str, asked: dict[str, float]) -> dict[str, float]:
    """Return those of these options that a method has and that differ from its defaults."""
    from sds_core.options import options_of
    from sds_core.pruning.methods import METHODS

    options = options_of(METHODS[method])
    return {name: asked[name] for name in options if asked.get(name) not in (None, options[name].default)}


def apply_to_methods(values: Overrides, methods: Iterable[str]) -> None:
    """Set the widgets to these options, and those of each method to the options it has."""
    for name, value in values.items():
        if name not in ("options", "method", "schedule"):
            st.session_state[_key(name)] = value
    for method in methods:
        _set_method_options(method, values.get("options", {}))


def _key(name: str, method: str = "") -> str:
    return f"option-{method}-{name}" if method else f"option-{name}"


def _with_widget() -> dict[str, Option]:
    """The options of a run that have a widget."""
    from sds_core.options import options_of
    from sds_core.runs.config import RunConfig

    return {name: option for name, option in options_of(RunConfig).items() if name not in WITHOUT_WIDGET}


def _fill_in_defaults() -> None:
    from sds_core.options import options_of
    from sds_core.pruning.methods import METHODS

    for name, option in _with_widget().items():
        st.session_state.setdefault(_key(name), option.default)
    for method, cls in METHODS.items():
        for name, option in options_of(cls).items():
            st.session_state.setdefault(_key(name, method), option.default)


def _set_method_options(method: str, options: dict[str, float]) -> None:
    from sds_core.options import options_of
    from sds_core.pruning.methods import METHODS

    for name, option in options_of(METHODS[method]).items():
        st.session_state[_key(name, method)] = type(option.default)(options.get(name, option.default))


def _grid(options: Iterable[Option], method: str = "") -> None:
    """Show widgets beside each other, as many in a row as the window has room for."""
    cached = functools.cache(_cached_texts)  # asked for once, for two boxes
    with st.container(horizontal=True, vertical_alignment="bottom"):
        for option in options:
            _widget(option, method, cached)


def _cached_texts() -> dict[str, str]:
    """Return the texts of the data sets in the hub cache, each with what to say of its size."""
    from sds_core.files import in_units
    from sds_core.models.hub_data_sets import cached_data_sets

    return {text: f" · {in_units(one.size)}, on this machine" for one in cached_data_sets() for text in one.texts}


def _devices() -> list[str]:
    """Return the names of this machine's devices."""
    from sds_core.models.device import devices

    return ["auto", *devices()]


def _widget(option: Option, method: str, cached_texts: Callable[[], dict[str, str]]) -> None:
    label = option.name.replace("_", " ").capitalize()
    key = _key(option.name, method)
    common: dict[str, Any] = {"key": key, "help": option.doc, "persist_state": "session", "width": 174}
    if option.choices:
        st.selectbox(label, list(option.choices), **common)
    elif option.name in SUGGESTED or option.name == "device":
        known = dict.fromkeys(SUGGESTED.get(option.name) or _devices(), "")
        known |= cached_texts() if option.name in own_text.PURPOSES else {}
        known.setdefault(st.session_state[key], "")
        st.selectbox(
            label, list(known), format_func=lambda name: name + known.get(name, ""), accept_new_options=True, **common
        )
    elif isinstance(option.default, bool):
        st.toggle(label, **common)
    elif isinstance(option.default, int | float):
        whole = isinstance(option.default, int)
        shape: dict[str, Any] = {"step": 1} if whole else {"step": 0.01, "format": "%g"}
        low, high = (limit if limit is None else type(option.default)(limit) for limit in (option.low, option.high))
        st.number_input(label, min_value=low, max_value=high, **shape, **common)
    else:
        st.text_input(label, **common)
