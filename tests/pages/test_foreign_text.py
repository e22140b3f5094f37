"""Text of others in every field of a record: no page makes a link, a picture or an element of it."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
from google.protobuf.message import Message

from sds_core.errors import SDSError
from sds_core.runs import distribution_files, note, typed_json
from sds_core.runs.config import RunConfig
from sds_core.runs.event_log import from_line
from sds_core.runs.layer_row import LayerRow
from sds_core.runs.run_folder import Run
from sds_core.runs.run_result import RunResult

EVIL = "evil.example"
FOREIGN = f"![x](http://{EVIL}/x.png) <img src=//{EVIL}> https://{EVIL} www.{EVIL} a@{EVIL} :material/x: $x$ **x**"
PAGES = {"run": "run", "layer": "run", "report": "run", "compare": "runs", "text": "runs", "start": "", "studio": ""}
"""Pages that show records, with the parameter that names a run."""
VERBATIM = {
    ("Code", "code_text"),
    ("Text", "body"),
    ("TextArea", "value"),
    ("TextArea", "default"),
    ("TextInput", "value"),
    ("TextInput", "default"),
    ("Selectbox", "options"),
    ("Selectbox", "raw_value"),
    ("PageLink", "query_string"),
    ("BidiComponent", "json"),  # the pictures set text, never markup
}
"""Fields of elements in which the browser shows a text as it is."""
MARKUP = re.compile(r"!\[x\](?=\()|https://evil|www\.evil|a@evil|(?<!\\)<img|:material/x:|(?<!\\)\$x|(?<![\\*])\*\*x")
"""What must not be left of the text where Markdown or HTML is read: a backslash or an invisible gap breaks it."""

TAG = re.compile(r"<(img|a)\b")
"""What must not be left where a chart is drawn, which knows tags alone."""
SILENT = ("start", "text")
"""Pages that name no text of a record without being asked."""


def texts(message: Message) -> Iterator[tuple[str, str, str]]:
    """Every text of an element: the kind of message, the field, and the text itself."""
    for field, value in message.ListFields():
        many = value if field.is_repeated else [value]
        for one in many.values() if hasattr(many, "values") else many:
            if isinstance(one, Message):
                yield from texts(one)
            elif isinstance(one, str):
                yield message.DESCRIPTOR.name, field.name, one


def elements(at: Any) -> Iterator[tuple[str, str, str]]:
    """Every text on the page."""
    nodes = [at._tree]
    while nodes:
        node = nodes.pop()
        nodes += getattr(node, "children", {}).values()
        if isinstance(getattr(node, "proto", None), Message):
            yield from texts(node.proto)


def poisoned(value: Any, sound: Callable[[Any], object]) -> Any:
    """A copy of plain JSON values with foreign text in every field that takes it."""

    def replace(place: list[Any]) -> None:
        nonlocal value
        inner = value
        for key in place:
            inner = inner[key]
        for key in list(inner) if isinstance(inner, dict) else range(len(inner)) if isinstance(inner, list) else ():
            if isinstance(inner[key], str):
                for text in (FOREIGN, f"{FOREIGN}.txt"):
                    before, inner[key] = inner[key], text
                    try:
                        sound(value)
                        break
                    except (ValueError, SDSError):
                        inner[key] = before
            else:
                replace([*place, key])

    replace([])
    return value


@pytest.fixture
def record(finished: dict[str, Run], runs: Path) -> Run:
    """A finished run whose record is full of foreign text."""
    run = Run(shutil.copytree(finished["fused"].folder, runs / "foreign"))
    asked = poisoned(run.raw_config(), RunConfig.from_dict)
    assert {name for name, value in asked.items() if EVIL in str(value)} >= {"title", "model", "calibration", "exclude"}
    (run.folder / "config.json").write_text(json.dumps(asked | {"experiment": "foreign"}))
    result = typed_json.load((run.folder / "result.json").read_text()) | {"excluded": {"a": "b"}, "chosen": {"c": 1}}
    result |= {"other_differing_tensors": ["d"]}
    result = poisoned(result, lambda value: RunResult.parse(json.dumps(value)))
    (run.folder / "result.json").write_text(json.dumps(result | {"chosen": {FOREIGN: 1}}))
    lines = list[str]()
    for line in run.log.path.read_text().splitlines():
        event = poisoned(typed_json.load(line), lambda value: from_line(json.dumps(value)))
        for layer, known in zip(event.get("layers", ()), typed_json.load(line).get("layers", ()), strict=True):
            layer["linear"] = FOREIGN + known["linear"]  # as in the distributions below
        if event["kind"] == "model loaded":
            event |= {"excluded": {FOREIGN: FOREIGN}}
        lines.append(json.dumps(event) + "\n")
    run.log.path.write_text("".join(lines))
    for _, path in distribution_files.files(run.folder):
        rows = pyarrow.parquet.read_table(path).to_pylist()
        as_lists = [
            {
                name: np.frombuffer(row[name], kind).tolist()
                for name, kind in distribution_files.BYTES.items()
                if row[name]
            }
            for row in rows
        ]
        changed = [
            row | lists | {"linear": FOREIGN + row["linear"], "name": FOREIGN}
            for row, lists in zip(rows, as_lists, strict=True)
        ]
        distribution_files.save(path, [LayerRow(**row) for row in changed])
    note.write(run, FOREIGN)
    return run


@pytest.mark.parametrize("page", PAGES)
def test_text_of_others_becomes_no_markup(page, record, app):
    parameters = {PAGES[page]: record.id} if PAGES[page] else {}
    at = app(f"pages/{page}.py", **parameters)
    assert not at.exception
    shown = [text for text in elements(at) if EVIL in text[2]]
    assert shown or page in SILENT
    for kind, field, text in shown:
        if (kind, field) not in VERBATIM:
            left = (TAG if kind == "PlotlyChart" else MARKUP).search(text)
            assert left is None, f"{kind}.{field}, {left}: {text[:300]}"


def test_the_pictures_set_text_and_never_markup():
    scripts = list((Path(__file__).parents[2] / "pages").rglob("*.js"))
    assert scripts
    for path in scripts:
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write", path.read_text("utf-8")), path
