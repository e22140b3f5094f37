"""Mount a picture: an ES module of `assets/`, drawn from numbers, that reports what was picked.

Streamlit serves a component's files from an `asset_dir` that is declared in the manifest of an installed distribution.
A checkout is none, so the declaration is made here, in the same form, with the component manager itself: it holds for a
checkout and for a wheel. JavaScript and CSS then have addresses of their own, and a message carries numbers only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.components.v2.get_bidi_component_manager import get_bidi_component_manager
from streamlit.components.v2.manifest_scanner import ComponentConfig, ComponentManifest

from sds_core.figures.palette import palette

PACKAGE, ASSETS = "sds-studio", "assets"
Pick = Mapping[str, Any]
"""A pick as the browser sends it: the reader checks every value against what it offers."""


def mount(
    name: str,
    data: Mapping[str, Any],
    *,
    key: str,
    on_pick: Callable[[Pick], None] | None = None,
    **triggers: Callable[[Any], None],
) -> None:
    """Draw a picture.

    Args:
        name: of the module and of the style sheet in `assets/`.
        data: its numbers, made of dicts, lists, strings and numbers.
        key: of the element; what it says is kept in the session under this key.
        on_pick: called with the picture's `view` when something in it was picked, before the page runs again.
        triggers: called with the value of an event of that name, such as `details`.
    """
    _declare(name)
    counter = f"{key}-picks"

    def picked() -> None:
        pick = dict(st.session_state[key].pick)
        st.session_state[counter] = pick.pop("n")
        if on_pick:
            on_pick(pick)

    def fired(event: str, call: Callable[[Any], None]) -> Callable[[], None]:
        def run() -> None:
            if (value := getattr(st.session_state[key], event)) is not None:
                call(value)

        return run

    calls = {f"on_{event}_change": fired(event, call) for event, call in triggers.items()}
    numbers = {**data, "n": st.session_state.get(counter, 0)}
    # In a list: the values of a dict would be searched for data frames, and that imports pandas.
    _component(name)(key=key, data=[numbers], on_pick_change=picked, **calls)


def _declare(name: str) -> None:
    """Name the folder of the files to the component manager of this server."""
    manager = get_bidi_component_manager()
    if manager.get_component_asset_root(f"{PACKAGE}.{name}") is None:
        manifest = ComponentManifest(PACKAGE, "", [ComponentConfig(name, ASSETS)])
        manager.register_from_manifest(manifest, Path(__file__).parent)


def root(name: str) -> str:
    """Return the element that a picture fills: it carries the palette, and is hidden until its style sheet loads."""
    colors = "".join(f"--{color}:light-dark({light},{dark});" for color, (light, dark) in palette().named().items())
    # A part of the page's own main landmark, which may have no second.
    return f"<main role='group' class='picture {name}' style='visibility:hidden;{colors}'></main>"


@cache
def _component(name: str) -> Any:
    return st.components.v2.component(f"{PACKAGE}.{name}", html=root(name), css=f"{name}.css", js=f"{name}.js")
