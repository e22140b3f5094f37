"""Pictures of our own beside Streamlit's widgets: SVG drawn in the browser from numbers that a page hands over.

A page mounts one with a function of this package and what it shows, and gets a callback when something is picked:

    from pages.ui import pictures

    def picked(pick: Mapping[str, Any]) -> None:   # the names of `StudioView`, to be checked: they come from outside
        st.query_params.update({"run": pick["run"], "stage": pick["stage"]})

    @st.fragment(run_every=0.5 if live else None)
    def board() -> None:
        pictures.studio(read_studio(st.query_params), key="studio", on_pick=picked)

The state is the address: the callback writes it, the next run of the page reads it and hands over the numbers of what
it names. A picture shows a pick at once and takes the answer when it comes; each pick carries a counter, so an answer
to an older one does not undo it. A poll without news sends nothing of the files, and with news only numbers: a block of
the Studio takes less than 15 kB.

A component is as tall as its page lets it be: `--above`, set by the page's style sheet on any element around it, is the
height in px of all that stands above.
"""

from __future__ import annotations

from collections.abc import Callable

from pages.ui.pictures.component import Pick, mount
from pages.ui.pictures.payloads import Studio, wire


def studio(
    data: Studio, *, key: str, on_pick: Callable[[Pick], None], on_details: Callable[[Pick], None] | None = None
) -> None:
    """Phase strip, model map, one layer's distributions by stage and run, rounds.

    Args:
        on_details: called with the view when the layer's details are asked for.
    """
    mount("studio", wire(data), key=key, on_pick=on_pick, details=on_details or (lambda view: None))
