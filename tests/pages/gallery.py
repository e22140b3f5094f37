"""Every picture with fixed numbers, outside the product: PYTHONPATH=. streamlit run tests/pages/gallery.py.

`?show=` names a file of `payloads/`, `?present=1` is for a projector. What was picked last, and every event, stands in
the address.
"""

import json
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import streamlit as st

from pages.ui.pictures import compare, details, lab, micro, start, studio, walk

PAYLOADS = Path(__file__).parent / "payloads"
PAGE = """<style>
[data-testid=stHeader] { display: none; }
[data-testid=stMainBlockContainer] { padding: 44px 20px 0; max-width: none; }
[data-testid=stMainBlockContainer] > [data-testid=stVerticalBlock] { gap: 0; }
.st-key-show { position: fixed; top: 2px; right: 20px; width: 260px; }
</style>"""


@dataclass(frozen=True)
class Shown:
    """How a payload is read and mounted."""

    payload: type
    mount: Callable[..., None]
    above: int = 0
    """Height of what stands above it on its page, besides the navigation."""
    beside: int = 0
    """Width of what stands on its left on a wide page."""
    events: tuple[str, ...] = ()
    picked: bool = True


KINDS = {
    "compare": Shown(compare.Compare, compare.mount, events=("open",)),
    "details": Shown(details.Details, details.mount),
    "lab": Shown(lab.Lab, lab.mount, beside=300),
    "micro": Shown(micro.Micro, micro.mount, above=50, beside=306, picked=False),
    "start": Shown(start.Start, start.mount, beside=460, picked=False),
    "studio": Shown(studio.Studio, studio.mount, above=62, events=("details",)),
    "walk": Shown(walk.Walk, walk.mount),
}
"""By the first part of a payload's name."""


def load(kind: Any, value: Any) -> Any:
    """Read a payload as it travels back into its dataclasses."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        kinds = [one for one in arguments if one is not type(None)]
        return (
            None
            if value is None
            else load(next(one for one in kinds if len(kinds) == 1 or one.kind == value["kind"]), value)
        )
    if is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        assert isinstance(kind, type) and value.keys() <= {field.name for field in fields(kind)}
        return kind(**{name: load(hints[name], one) for name, one in value.items()})
    if origin is tuple:
        return tuple(load(arguments[0], one) for one in value)
    if origin is dict:
        return {
            arguments[0](name) if arguments[0] is int else name: load(arguments[1], one) for name, one in value.items()
        }
    return value


def read(name: str) -> Any:
    """The payload of a file."""
    return load(KINDS[name.split("-")[0]].payload, json.loads((PAYLOADS / f"{name}.json").read_text("utf-8")))


def forget() -> None:
    """Take from the address what was picked, and events, in the picture before."""
    for name in ("pick", "open", "details"):
        st.query_params.pop(name, None)


def gallery() -> None:
    """The page."""
    st.html(PAGE + "<h1 style='position:absolute;clip-path:inset(50%)'>Gallery</h1>")
    names = sorted(path.stem for path in PAYLOADS.glob("*.json"))
    name = st.selectbox(
        "Picture",
        names,
        key="show",
        bind="query-params",
        on_change=forget,
        label_visibility="collapsed",
        width=260,
    )
    data, shown = read(name), KINDS[name.split("-")[0]]

    def note(what: str) -> Callable[[Any], None]:
        return lambda value: st.query_params.update({what: json.dumps(value)})

    if "pick" in st.query_params:
        data = replace(data, view=load(type(data.view), json.loads(st.query_params["pick"])))
    beside = f"@media (min-width: 901px) {{ .st-key-{name} {{ padding-left: {shown.beside}px; }} }}"
    st.html(f"<style>{beside}</style><div style='height:{shown.above}px'></div>")
    calls = {f"on_{event}": note(event) for event in (*shown.events, *["pick"] * shown.picked)}
    shown.mount(replace(data, present="present" in st.query_params), key=name, **calls)


if __name__ == "__main__":
    st.set_page_config(page_title="Gallery", layout="wide")
    gallery()
