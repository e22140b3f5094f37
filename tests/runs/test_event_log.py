"""The log on disk: growing, torn, broken, and on a full disk."""

import os

import pytest

from sds_core.errors import SDSError
from sds_core.runs.event_log import EventLog, LogWriter, to_line
from sds_core.runs.events import JobQueued

FIRST, SECOND, THIRD = (JobQueued(behind=name) for name in ("a", "b", "c"))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events.jsonl"


def test_a_log_that_is_not_there_is_empty(path):
    assert EventLog(path).read() == []


def test_a_reader_waits_for_the_rest_of_a_line(path):
    log = EventLog(path)
    path.write_text(to_line(FIRST) + to_line(SECOND)[:9])
    assert log.read() == [FIRST]
    with open(path, "a") as file:
        file.write(to_line(SECOND)[9:])
    assert log.read() == [FIRST, SECOND]


def test_a_writer_cuts_a_torn_line_off(path):
    LogWriter(path).append(FIRST)
    with open(path, "a") as file:
        file.write('{"kind": "que')
    LogWriter(path).append(SECOND)
    assert EventLog(path).read() == [FIRST, SECOND]


def test_events_are_numbered_through_all_writers(path):
    for event in (FIRST, SECOND):
        LogWriter(path).append(event)
    writer = LogWriter(path)
    writer.append(THIRD)
    writer.append(THIRD)
    assert [event.number for event in EventLog(path).read()] == [0, 1, 2, 3]


def test_time_counts_from_the_writers_start(path, monkeypatch):
    monkeypatch.setattr("time.monotonic", iter([100.0, 100.5, 103.254]).__next__)
    writer = LogWriter(path)
    writer.append(FIRST)
    writer.append(SECOND)
    assert [event.elapsed for event in EventLog(path).read()] == [0.5, 3.25]


@pytest.mark.parametrize("line", ["rubbish", "1", "{}", '{"kind": "queued", "behind": 3}', "\x00", "é" * 3])
def test_a_broken_line_is_named(path, line):
    path.write_text(to_line(FIRST) + line + "\n" + to_line(SECOND), encoding="utf-8")
    with pytest.raises(SDSError, match=r"line 2 of .*events\.jsonl is not an event: .* not resumed"):
        EventLog(path).read()


def test_a_full_disk_leaves_the_log_whole(path, monkeypatch):
    writer = LogWriter(path)
    writer.append(FIRST)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(SDSError, match="No space left"):
            writer.append(SECOND)
    writer.append(THIRD)
    assert EventLog(path).read() == [FIRST, THIRD]
    assert EventLog(path).read()[1].number == 1
