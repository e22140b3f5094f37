"""Pictures of the pages with the runs that come along: python -m tests.pages.screenshots [FOLDER | --readme].

Every page at two widths and in both themes; with `--readme` those of README and docs, into docs/.
"""

import io
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from sds_core.files import cache_folder
from sds_core.runs.examples import unpack_all
from tests.pages.browser import ROOT, Visitor, server, visitors

DETAILS = "/studio?experiment=examples&run=sds-admm-wanda&layer=20.mlp.up_proj&details=1"
COMPARE = "/compare?experiment=examples"
COLOURS = 256
"""Of the README’s pictures, those apart most: a third of the bytes, and a small mark keeps its colour."""


def every_page(target: Path, visit: Any, one: str) -> None:
    """Two widths, both themes."""
    paths = {
        "start": "/",
        "walk": "/walk?step=3&guess=46&shown=1",
        "micro": "/micro",
        "lab": "/lab",
        "studio": "/studio?experiment=examples",
        "runs": f"/studio?manage={one}",
        "details": DETAILS,
        "compare": COMPARE,
        "report": f"/report?run={one}",
        "text": "/text",
    }
    for name, path in paths.items():
        for width in (1280, 800):
            for scheme in ("light", "dark"):
                visitor = visit(width=width, scheme=scheme).open(path)
                visitor.page.wait_for_timeout(1500)
                visitor.whole(target / f"{name}-{width}-{scheme}.png")
                print(name, width, scheme, *visitor.errors, *visitor.left)
                visitor.page.close()


def of_the_readme(target: Path, visit: Any, one: str) -> None:
    """One picture a page, from where it becomes telling."""
    save(visit().open("/studio?experiment=examples&layer=20.mlp.up_proj"), "", target / "studio.png")
    save(visit().open("/walk?step=7&guess=25&shown=1"), "", target / "walk.png")
    save(visit().open("/micro?step=prune&pruner=wanda&seed=10"), "", target / "micro.png")
    save(visit().open(COMPARE), "", target / "compare.png")


def save(visitor: Visitor, heading: str, path: Path) -> None:
    """What a window of 1280×720 shows once this heading is at the top; where none is named, the top of the page."""
    from PIL import Image

    visitor.page.set_viewport_size({"width": 1280, "height": 720})
    visitor.page.locator("main.picture > *").first.wait_for()
    visitor.page.wait_for_timeout(2500)
    if heading:
        visitor.page.evaluate(
            "heading => [...document.querySelectorAll('h1, h2, h3, h4, h5')].find(h => h.innerText.includes(heading))"
            ".scrollIntoView({block: 'start'})",
            heading,
        )
    visitor.page.mouse.move(5, 700)  # no tool bar over a picture
    visitor.page.wait_for_timeout(1500)
    picture = Image.open(io.BytesIO(visitor.page.screenshot())).convert("RGB")
    picture.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(path, optimize=True)
    print(path.name, path.stat().st_size, *visitor.errors, *visitor.left)
    visitor.page.close()


def main(*arguments: str) -> None:
    draw = of_the_readme if "--readme" in arguments else every_page
    target = ROOT / "docs" if draw is of_the_readme else Path(arguments[0] if arguments else "screenshots")
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as runs:
        os.environ["SDS_RUNS"] = runs
        one = next((run.id for run in unpack_all() if run.id.startswith("sds-admm")), "")
        with server(Path(runs), cache_folder()) as address, visitors(address) as visit:
            draw(target, visit, one)


if __name__ == "__main__":
    main(*sys.argv[1:])
