"""One screen a page: the style of compact pages, and what a projector does without."""

import pytest

PAGE = "pages/studio.py"


@pytest.mark.parametrize(("present", "header", "top"), [({}, "flex", 50), ({"present": "1"}, "none", 8)])
def test_a_projector_shows_no_navigation(runs, app, present, header, top):
    at = app(PAGE, **present)
    assert not at.exception
    style = at.get("html")[0].proto.body
    assert f"display: {header};" in style and f"padding: {top}px 20px 8px" in style
    assert style.endswith("<h1 class='unseen'>Studio</h1>")
