"""Every reader of runs on every kind of damage: a sentence for the broken run, and nothing lost of the others."""

import itertools
import json
import os
import shutil
import traceback
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from sds_core.__main__ import main
from sds_core.commands.records import list_runs
from sds_core.comparison.compare import names, records, side_by_side, sort_out, sweeps, table
from sds_core.comparison.outcomes import finished_outcomes
from sds_core.comparison.ranking import answer, rank
from sds_core.comparison.references import claims_about
from sds_core.errors import SDSError
from sds_core.runs import layer_stats, note, typed_json
from sds_core.runs.branch import as_parent
from sds_core.runs.estimate import estimate, past_runs
from sds_core.runs.experiment import experiments
from sds_core.runs.experiment_record import ExperimentRecord
from sds_core.runs.progress import progress
from sds_core.runs.run_command import command
from sds_core.runs.run_folder import Run, every_run, ids, open_run
from sds_core.texts.job import TextJob, askable
from sds_core.texts.query import TextQuery

WRONG: list[Any] = [None, "text", "", "\ud800", "x" * 100_000, 0, 1, -1, 10**17, 1e300, True, [], {}, [1], {"a": 1}]
"""Values that take the place of every single one."""


def read_all(run: str) -> None:
    """Everything that reads a folder of runs; only what names the broken run may refuse it, in a sentence."""
    known = ids()
    assert run in known and len(known) == 2
    runs = list(every_run())
    for one in experiments():
        record = ExperimentRecord(one, one.variants)
        for _, found in record.stages():
            record.values(found, "loss")
            _ = found.reason, found.perplexity
        one.next_phase(one.variants)
    outcomes = finished_outcomes()
    kept, reasons = sort_out(runs)
    rows = side_by_side(kept, outcomes)
    assert rows and len(rows) + len(reasons) == len(runs)
    table(rows), records(rows), sweeps(rows), names(rows)
    for ranking in rank([row.outcome for row in rows], outcomes):
        answer(ranking)
    assert askable()
    assert list_runs(Namespace()) == 0
    estimate(rows[0].config, past_runs(runs))
    for read in ONE:
        with suppress(SDSError):
            read(open_run(run))


ONE: list[Callable[[Run], object]] = [
    lambda run: command(run.config),
    lambda run: run.state(),
    lambda run: progress(run.log.read(), run.config.phases),
    lambda run: run.model(),
    lambda run: run.finished_result(),
    lambda run: note.read(run),
    lambda run: layer_stats.load(run.folder),
    lambda run: claims_about(run),
    lambda run: as_parent(run, 1),
    lambda run: TextJob.of(TextQuery(runs=(run.id,), prompts=("a",))),
]


@pytest.fixture
def pair(finished: Run, runs_root: Path) -> Run:
    """A finished run to be broken, beside a sound one."""
    shutil.copytree(finished.folder, runs_root / "sound")
    return Run(shutil.copytree(finished.folder, runs_root / "broken"))


@pytest.fixture
def begun(pair: Run) -> Run:
    """The same with a run that has no result yet."""
    (pair.folder / "result.json").unlink()
    return pair


def leaves(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """Paths of all values inside plain JSON values, of lists only the first item."""
    yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))
    if isinstance(value, list) and value:
        yield from leaves(value[0], (*path, 0))


def replaced(value: Any, path: tuple, new: Any) -> Any:
    """A copy with another value at a path."""
    if not path:
        return new
    copied = dict(value) if isinstance(value, dict) else list(value)
    copied[path[0]] = replaced(value[path[0]], path[1:], new)
    return copied


def failing(cases: Iterable[tuple[str, str]], path: Path, each: int) -> list[str]:
    """Contents of a file that end in anything but a sentence.

    Args:
        cases: contents, each with the damage in words.
        path: the file.
        each: how many of the cases are left out for each that is tried.
    """
    found = list[str]()
    for label, content in itertools.islice(cases, None, None, each):
        path.write_text(content)
        try:
            read_all("broken")
        except Exception as error:  # noqa: BLE001, whatever it is, it is a finding
            found.append(f"{label}: {traceback.format_exception(error)[-3:]}")
    return found


def with_wrong_values(content: Any) -> Iterator[tuple[str, Any]]:
    """Copies of plain JSON values with every wrong value in every place, and what is wrong in words."""
    for place in leaves(content):
        for wrong in WRONG:
            yield f"{place} is {str(wrong)[:30]!r}", replaced(content, place, wrong)


EACH = int(os.environ.get("SDS_DAMAGE_EACH", "61"))
"""Of so many wrong values one is tried: coprime to their number, so that each comes in turn."""


@pytest.mark.parametrize("name", ["config.json", "result.json"])
def test_any_value_of_a_file_may_be_wrong(pair: Run, name: str, capsys: pytest.CaptureFixture) -> None:
    path = pair.folder / name
    cases = ((label, json.dumps(content)) for label, content in with_wrong_values(typed_json.load(path.read_text())))
    assert failing(cases, path, EACH) == []


@pytest.mark.parametrize(("state", "each"), [("pair", EACH), ("begun", 4 * EACH)])
def test_any_value_of_the_log_may_be_wrong(
    state: str, each: int, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture
) -> None:
    path = request.getfixturevalue(state).log.path
    events = [typed_json.load(line) for line in path.read_text().splitlines()]
    first = {event["kind"]: i for i, event in reversed(list(enumerate(events)))}
    cases = (
        (f"{kind}: {label}", "".join(json.dumps(one) + "\n" for one in [*events[:i], changed, *events[i + 1 :]]))
        for kind, i in first.items()
        for label, changed in with_wrong_values(events[i])
    )
    assert failing(cases, path, each) == []


def wreck(path: Path, how: str) -> None:
    """Do something to a file that no program of ours does."""
    match how:
        case "gone":
            path.unlink()
        case "a folder":
            path.unlink()
            path.mkdir()
        case "a link to nowhere":
            path.unlink()
            path.symlink_to("/nowhere/at/all")
        case "half":
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        case "deep":
            path.write_text("[" * 100_000)
        case _:
            path.write_bytes(CONTENTS[how])


CONTENTS = {
    "empty": b"",
    "a number": b"1\n",
    "a list": b"[]\n",
    "no text": b"\xff\xfe\x00\n",
    "long": b"9" * 5000 + b"\n",
}
FILES = ["config.json", "result.json", "events.jsonl", "note.txt", "lock", "distributions/fused-000.parquet"]
HOW = ["gone", "a folder", "a link to nowhere", "half", "deep", *CONTENTS]


@pytest.mark.parametrize("name", FILES)
def test_any_file_may_be_wrecked(pair: Run, name: str, capsys: pytest.CaptureFixture) -> None:
    wreck_each_way(pair, name)


@pytest.mark.parametrize("name", ["events.jsonl", "lock"])
def test_any_file_of_an_unfinished_run_may_be_wrecked(begun: Run, name: str, capsys: pytest.CaptureFixture) -> None:
    wreck_each_way(begun, name)


def wreck_each_way(pair: Run, name: str) -> None:
    """Wreck a file of a run in every way, and read all runs each time."""
    path, kept = pair.folder / name, pair.folder.with_name(".kept")
    if name == "note.txt":
        note.write(pair, "a note")
    (pair.folder / "lock").touch()
    shutil.copytree(pair.folder, kept)
    for how in HOW:
        wreck(path, how)
        if not (name == "config.json" and how in ("gone", "a link to nowhere")):  # else it is no run any more
            read_all("broken")
        shutil.rmtree(pair.folder)
        shutil.copytree(kept, pair.folder)


def test_deleting_a_linked_run_removes_only_the_link(pair: Run, capsys: pytest.CaptureFixture) -> None:
    elsewhere = pair.folder.rename(pair.folder.parents[1] / "elsewhere")
    pair.folder.symlink_to(elsewhere)
    read_all("broken")
    main(["list"])
    assert "broken: run broken is a link to another place" in capsys.readouterr().out
    pair.delete()
    assert ids() == ["sound"] and (elsewhere / "config.json").exists()
