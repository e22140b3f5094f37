"""Escape untrusted text (titles, paths, names of layers) for HTML, Plotly and Streamlit's Markdown.

The only place that does so; it is below the reports, since axis labels need it too.
"""

import html as standard
import re

JOINER = "\N{WORD JOINER}"
"""Invisible and without width: breaks what Streamlit looks for once Markdown, and with it every backslash, is gone."""
REWRITTEN = (
    re.compile(r"(?<=http:)(?=//)|(?<=https:)(?=//)|(?<=www)(?=\.)", re.IGNORECASE),  # bare addresses
    re.compile(r"(?<=[-.\w+])(?=@[-\w])"),  # mail addresses
    re.compile(r"(?<=:)(?=material/|[-+\w]+:)"),  # icons, emoji and Streamlit's logo by name
    re.compile(r"(?:(?<=^[-<>~])|(?<=\s[-<>~]))(?=(?:->|[->=])(?:\s|$))"),  # arrows and signs such as <=
)
"""Gaps in what becomes a link, a picture or another character."""
SPECIAL = re.compile(r"[\\`*\[\]<$~&|]|:(?=[A-Za-z])|(?<![^\W_])_|_(?![^\W_])")
"""Means something within a line of Markdown, where `:red` is a directive, and snake_case is no emphasis."""
START = re.compile(r"^((?=[#>+=-])|\d+(?=[.)](?:\s|$)))")
"""Begins a heading, a list, a quotation or a rule."""


def html(text: str) -> str:
    """The text for HTML, also inside a quoted attribute."""
    return standard.escape(text)


def plotly(text: str) -> str:
    """The text for a label or a name in a Plotly figure, which reads tags such as <a> and <b>."""
    return standard.escape(text, quote=False)


def markdown(text: str) -> str:
    """The text on one line for Streamlit's Markdown: nothing in it becomes a link, an image, a formula or an icon."""
    line = " ".join(text.split())
    for gap in REWRITTEN:
        line = gap.sub(JOINER, line)
    return START.sub(r"\1\\", SPECIAL.sub(r"\\\g<0>", line))
