"""A run's record is read as it grows: what was read is not read again, and a block's file only when asked for."""

import shutil

import pytest

from sds_core.runs import job_folder, run_record
from sds_core.runs.event_log import to_line
from sds_core.runs.events import BlockFinished, JobFinished
from sds_core.runs.layer_numbers import block_files, read_block
from sds_core.runs.run_folder import Run
from sds_core.runs.run_record import RunRecord


@pytest.fixture
def copy(finished: Run, runs_root) -> Run:
    """A copy of the finished run that may be written to."""
    shutil.copytree(finished.folder, runs_root / finished.id)
    return Run(runs_root / finished.id)


@pytest.fixture
def opened(monkeypatch) -> list[str]:
    """The files of distributions that were read, by name."""
    names = []

    def read(path):
        names.append(path.name)
        return read_block(path)

    monkeypatch.setattr(run_record, "read_block", read)
    return names


def test_errors_of_stages_are_those_of_the_files(copy):
    record = RunRecord(copy, copy.config)
    for block, paths in block_files(copy.folder).items():
        for (linear, stage, number), layer in read_block(paths[0]).items():
            if not number and stage in ("sparse", "redense", "final"):
                assert record.value(block, linear, stage, "loss") == layer.loss
                assert record.value(block, linear, stage, "held_out") == layer.held_out


def test_of_a_run_that_has_ended_meanwhile_all_is_read(copy, monkeypatch):
    log, whole = copy.folder / "events.jsonl", (copy.folder / "events.jsonl").read_text()
    log.write_text("".join(whole.splitlines(keepends=True)[:-2]))

    def end(path):
        log.write_text(whole)
        return False

    monkeypatch.setattr(job_folder.lock, "held", end)
    record = RunRecord(copy, copy.config)
    assert record.state == "finished" and isinstance(record.events[-1], JobFinished)
    assert record.perplexity("final")


def test_errors_need_no_file_and_a_layer_one(copy, opened):
    record = RunRecord(copy, copy.config)
    assert record.linears() and record.done("final") == 3 and record.value(2, "mlp.up_proj", "final", "loss") > 0
    assert opened == []
    assert record.layer(1, "mlp.up_proj", "final") == record.layer(1, "mlp.up_proj", "final")
    assert record.rounds(1, "mlp.up_proj")
    assert opened == ["fused-001.parquet"]


def test_only_a_newly_finished_block_is_read(copy, opened):
    log = copy.folder / "events.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    last = max(i for i, event in enumerate(copy.log.read()) if isinstance(event, BlockFinished))
    log.write_text("".join(lines[:last]))
    hidden = (copy.folder / "distributions" / "fused-002.parquet").rename(copy.folder / "hidden")
    record = RunRecord(copy, copy.config)
    assert record.done("final") == 2 and record.layer(0, "mlp.up_proj", "final")
    assert record.layer(2, "mlp.up_proj", "final") is None
    hidden.rename(copy.folder / "distributions" / "fused-002.parquet")
    with open(log, "a") as file:
        file.write(lines[last])
    record.refresh()
    assert record.done("final") == 3
    assert record.layer(2, "mlp.up_proj", "final") and record.layer(0, "mlp.up_proj", "final")
    assert opened == ["fused-000.parquet", "fused-002.parquet"]


def test_a_broken_file_hides_its_block_alone(copy):
    (copy.folder / "distributions" / "fused-001.parquet").write_bytes(b"nonsense")
    record = RunRecord(copy, copy.config)
    assert record.layer(0, "mlp.up_proj", "final") and record.fault == ""
    assert record.layer(1, "mlp.up_proj", "final") is None and "broken" in record.fault


def test_a_measure_that_was_not_taken_is_not_there(copy):
    record = RunRecord(copy, copy.config)
    assert record.has("final", "mask_changed") and record.has("final", "held_out")
    events = [event for event in copy.log.read() if not isinstance(event, BlockFinished)]
    (copy.folder / "events.jsonl").write_text("".join(to_line(event) for event in events))
    assert not RunRecord(copy, copy.config).has("final", "loss")
