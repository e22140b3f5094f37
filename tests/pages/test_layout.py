"""One screen a page: the style of compact pages, and what a projector does without."""

from urllib.parse import parse_qsl

import pytest

from tests.pages.test_studio_runs import MODEL, address

PAGE = "pages/studio.py"


PROJECTOR = {"present": "1"}


@pytest.mark.parametrize(("present", "kept"), [({}, {}), (PROJECTOR, PROJECTOR), ({"present": "2"}, {})])
def test_a_projector_stays_one_on_the_way_to_other_pages(runs, app, made, present, kept):
    made(MODEL, experiment="x", schedule="staged", phase=1, method="base")
    links = [link.proto.query_string for link in app("pages/start.py", **present).get("page_link")]
    assert [dict(parse_qsl(query)) for query in links] == [{"step": "1"} | kept, {"experiment": "x"} | kept]
    at = app("pages/run.py", run="all", **present)
    assert {name: address(at, name) for name in at.query_params} == {"manage": "all"} | kept


@pytest.mark.parametrize(("present", "header", "top"), [({}, "flex", 50), ({"present": "1"}, "none", 8)])
def test_a_projector_shows_no_navigation(runs, app, present, header, top):
    at = app(PAGE, **present)
    assert not at.exception
    style = at.get("html")[0].proto.body
    assert f"display: {header};" in style and f"padding: {top}px 20px 8px" in style
    assert style.endswith("<h1 class='unseen'>Studio</h1>")
