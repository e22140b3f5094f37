"""The notebook of docs/ as it is read: its cells run in order, and what they show is written into it.

python -m tests.notebook runs it on the demo model and needs Chromium, which draws its figures for pages that stand
still.
"""

import ast
import base64
import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from tests.pages.browser import CHROMIUM, FLAGS

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "docs" / "notebook.ipynb"
PLOTLY = "application/vnd.plotly.v1+json"
SIZE = {"width": 760, "height": 430}
"""Of a figure on a page that stands still."""
COLOURS = 256

Bundle = dict[str, Any]
"""A cell's output by kind."""


def code_cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    """The cells that run."""
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def run(cells: list[dict[str, Any]], names: dict[str, Any], parameters: dict[str, Any]) -> Iterator[Bundle | None]:
    """Run cells one after the other; yield what each of them shows.

    Args:
        names: the notebook's variables, filled here.
        parameters: variables that replace those of the cell of parameters.
    """
    for cell in cells:
        body = ast.parse("".join(cell["source"])).body
        if isinstance(body[-1], ast.Expr):
            body[-1] = ast.Assign([ast.Name("_", ast.Store(), lineno=1, col_offset=0)], body[-1].value, lineno=1)
        names["_"] = None
        exec(compile(ast.fix_missing_locations(ast.Module(body, [])), str(NOTEBOOK), "exec"), names)
        shown = names["_"]
        if "parameters" in cell["metadata"].get("tags", []):
            names |= parameters
        yield None if shown is None else bundle(shown)


def bundle(shown: object) -> Bundle:
    """Return what a notebook keeps of a value."""
    if isinstance(shown, go.Figure):
        return {PLOTLY: json.loads(shown.to_json()), "text/plain": "a Plotly figure"}
    if isinstance(shown, pd.DataFrame):
        return {"text/html": shown.to_html(), "text/plain": repr(shown)}
    return {"text/plain": repr(shown)}


@contextmanager
def artist() -> Iterator[Callable[[Bundle], bytes]]:
    """A function that draws a figure as PNG."""
    from PIL import Image
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page()
        page.set_content("<div id=here></div>")
        page.add_script_tag(content=get_plotlyjs())

        def draw(figure: Bundle) -> bytes:
            address = page.evaluate(
                "([figure, size]) => Plotly.toImage({data: figure.data, layout: {...figure.layout, autosize: false, "
                "...size, margin: {...figure.layout.margin, b: 50}}}, {format: 'png', scale: 1.5, ...size})",
                [figure, SIZE],
            )
            picture, small = Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))), io.BytesIO()
            picture.convert("RGB").quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
                small, "png", optimize=True
            )
            return small.getvalue()

        try:
            yield draw
        finally:
            browser.close()


def main() -> None:
    """Run the notebook as it stands and write its outputs into it."""
    notebook = json.loads(NOTEBOOK.read_text("utf-8"))
    cells = code_cells(notebook)
    names: dict[str, Any] = {}
    found = list(run(cells, names, {}))
    with artist() as draw:
        for number, (cell, data) in enumerate(zip(cells, found, strict=True), start=1):
            cell["execution_count"] = number
            if data and PLOTLY in data:
                data["image/png"] = base64.b64encode(draw(data[PLOTLY])).decode()
            output = {"output_type": "execute_result", "execution_count": number, "metadata": {}, "data": data}
            cell["outputs"] = [output] if data else []
    NOTEBOOK.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", "utf-8")
    print(f"{NOTEBOOK.name}: {NOTEBOOK.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
