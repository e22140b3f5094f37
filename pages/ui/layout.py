"""What pages share: their list, style sheet, projector mode, escaped text, plugins, and the run in an address."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import streamlit as st

from sds_core.errors import SDSError
from sds_core.figures import markup
from sds_core.lesson.votes import VARIABLE

if TYPE_CHECKING:
    from streamlit.navigation.page import StreamlitPage

    from sds_core.pruning.registry import PrunerRegistry
    from sds_core.runs.run_folder import Run


COMPACT = """<style>
@property --above {{ syntax: "\\3C length\\3E"; inherits: true; initial-value: 46px; }}
[data-testid=stHeader] {{ height: 44px; min-height: 44px; display: {header}; }}
[data-testid=stMainBlockContainer] {{ padding: {top}px 20px {bottom}px; max-width: none;
  --above: calc({above}px + var(--alert, 0px)); }}
[data-testid=stMainBlockContainer]:has([data-testid=stAlert]) {{ --alert: {alert}px; }}
[data-testid=stMainBlockContainer] > [data-testid=stVerticalBlock] {{ gap: 8px; }}
[data-testid=stElementContainer]:has(.unseen) {{ position: absolute; width: 1px !important; }}
.unseen {{ position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }}
[class*=st-key-beside] {{ zoom: {low}; }}
@media (min-width: 1600px) and (min-height: 880px) {{ [class*=st-key-beside] {{ zoom: {zoom}; }} }}
.st-key-columns h1 {{ font-size: 24px; line-height: 30px; font-weight: 600; letter-spacing: -0.01em; padding: 0;
  margin: 0 0 6px; }}
.st-key-columns > * > [class*=st-key-beside] {{ gap: 10px; padding-top: 8px; }}
.st-key-columns [class*=st-key-beside] p {{ font-size: 15px; line-height: 21px; }}
[data-testid=stCaptionContainer], [data-testid=stCaptionContainer] p {{
  color: inherit !important; opacity: 0.9; }}
.st-key-columns :is(.stSlider, .stButtonGroup) * {{ color: inherit !important; }}
@media (min-width: 901px) {{
  .st-key-columns {{ display: grid; grid-template-columns: 270px minmax(0, 1fr); gap: 36px; }}
}}
</style>"""
"""A container with the key `columns` holds words and widgets on the left, their key beginning with `beside`, and a
picture on the right. `--above` is a length, so that a picture can read what it comes to; in HTML, the
brackets of its type must be escaped."""
TOP, BOTTOM = 50, 8
"""Pixels above and below a compact page; without navigation, on a projector, `BOTTOM` above it too."""
ALERT = 67
"""Height of an error in a line, with the gap below it."""
PROJECTED = 20
"""Pixels of type that is read from the back of a room."""
SPARE = 1.06
"""How much larger words grow on a small projector, where the navigation's height is all that there is to spare."""


def presenting() -> bool:
    """Whether the page is for a projector: `?present=1`."""
    return st.query_params.get("present") == "1"


def onward(parameters: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters of a link to another page, which keeps projector mode."""
    return {**parameters, "present": "1"} if presenting() else {**parameters}


def compact(heading: str = "", above: int = 0, size: int = 17) -> None:
    """Fit a page on one screen: a low header, narrow margins, and a picture that takes what they leave.

    Words and widgets in a container whose key begins with `beside` are larger on a projector, as the picture is: as far
    as the window has room.

    Args:
        heading: the page's first heading, for screen readers, where the page shows none.
        above: pixels of what the page shows above and below its picture, gaps of 8 included.
        size: pixels of the type beside the picture; on a large projector it is `PROJECTED`.
    """
    shown, top, zoom = ("none", BOTTOM, round(PROJECTED / size, 2)) if presenting() else ("flex", TOP, 1)
    low = zoom if zoom < 1.2 else SPARE
    room = {"top": top, "bottom": BOTTOM, "above": top + BOTTOM + above, "alert": ALERT}
    style = COMPACT.format(header=shown, zoom=zoom, low=low, **room)
    st.html(style + (heading and f"<h1 class='unseen'>{heading}</h1>"))


def room_above(above: int) -> None:
    """Reduce the height of a compact page's picture, to show something else above or below it.

    Args:
        above: pixels, as for `compact`.
    """
    room = BOTTOM + (BOTTOM if presenting() else TOP) + above
    rule = f"--above: calc({room}px + var(--alert, 0px));"
    st.html(f"<style>[data-testid=stMainBlockContainer] {{ {rule} }}</style>")


def navigate() -> StreamlitPage:
    """Draw the navigation, hidden on a projector, and name the page in the browser's tab.

    A `:material/…:` icon of the tab would be fetched from a font host.
    """
    page = st.navigation(pages(), position="hidden" if presenting() else "top")
    st.set_page_config(page_title=f"{page.title} · SDS Studio", layout="wide", page_icon="🧮")
    return page


def warn_if_open() -> None:
    """Warn on every page that the app listens to the network: every visitor has all rights of its user."""
    address = st.get_option("server.address")
    if address not in ("127.0.0.1", "localhost", "::1"):
        st.warning(
            "This app can be reached from other computers. Every visitor can start and delete runs and read text "
            "files of the user who started it. Set server.address to 127.0.0.1 to keep it to this one.",
            icon=":material/public:",
        )


def pages() -> list:
    """Return all pages in the order of the navigation bar."""
    return [
        st.Page("pages/start.py", title="Start", default=True),
        st.Page("pages/walk.py", title="Walk"),
        st.Page("pages/micro.py", title="Micro"),
        st.Page("pages/lab.py", title="Layer lab"),
        st.Page("pages/studio.py", title="Studio"),
        st.Page("pages/compare.py", title="Compare"),
        st.Page("pages/text.py", title="Text"),
        st.Page("pages/report.py", title="Report"),
        st.Page("pages/run.py", title="Run", visibility="hidden"),
        st.Page("pages/layer.py", title="Layer", visibility="hidden"),
    ]


def page_file(name: str) -> str:
    """Return the script of a page, as links name it; those of a class lie beside their main script."""
    return f"{name}.py" if VARIABLE in os.environ else f"pages/{name}.py"


def routed() -> None:
    """First line of every page: a page opened first on a cold server repairs itself.

    A folder called `pages` makes Streamlit run such a page alone, until `st.navigation` has run once.
    """
    if not st.session_state.get("routed"):
        navigate()
        st.rerun()


def plain(text: str) -> str:
    """Escape untrusted text for Markdown: an image in an imported title would be fetched."""
    return markup.markdown(text)


def refuse(error: SDSError | str) -> None:
    """Show an error as a sentence."""
    text = str(error)
    st.error(plain(text[:1].upper() + text[1:]), icon=":material/error:")


def load_pruners() -> PrunerRegistry:
    """Return the pruners that can be chosen now, with a warning for each plugin file that was rejected."""
    from sds_core.pruning.registry import BUILT_IN
    from sds_core.runs.plugins import load_registry

    try:
        pruners = load_registry()
        rejected = list(pruners.rejected.values())
    except SDSError as error:
        pruners, rejected = BUILT_IN, [error]
    for reason in rejected:
        st.warning(f"A plugin pruner is not available: {plain(str(reason))}", icon=":material/extension_off:")
    return pruners


def run_in_url() -> Run | None:
    """Return the run that `?run=` names; None, with the reason on the page, if there is none."""
    from sds_core.runs.run_folder import open_run

    name = st.query_params.get("run")
    if name is None:
        return None
    try:
        run = open_run(name)
        _ = run.config, run.log.read(), run.state(), run.result()
    except SDSError as error:
        refuse(error)
        return None
    return run


def choose_run(key: str) -> Run | None:
    """Show a select box of runs; return the run in the address, else the newest, or None if there is none.

    Choosing another run clears the rest of the address.
    """
    from sds_core.runs.run_folder import ids

    names = ids()
    if not names:
        st.info("There are no runs yet. Create one in the Studio.", icon=":material/info:")
        return None
    if "run" not in st.query_params:
        st.query_params["run"] = names[0]
    run = run_in_url()
    st.session_state[key] = run.id if run else None
    turn = lambda: st.query_params.from_dict(onward({"run": st.session_state[key]}))
    st.selectbox("Run", names, key=key, on_change=turn, placeholder="Choose a run", width=330)
    return run
