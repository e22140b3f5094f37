"""A folder in which one process works at a time, and whose files hold its state.

events.jsonl           the log, one JSON object per line
lock                   held by the worker while it runs
cancel                 exists once the user has asked to stop
result.json            the result, written last and atomically
stderr.txt             the worker's standard error; of several folders of one worker, in the first

Importing this module stays cheap: the app's first page lists runs.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sds_core.files import disk_error
from sds_core.runs import lock
from sds_core.runs.event_log import EventLog, LogWriter
from sds_core.runs.events import JobCancelled, JobFailed, JobQueued

EVENTS, LOCK, CANCEL, RESULT, ERRORS = "events.jsonl", "lock", "cancel", "result.json", "stderr.txt"

State = Literal["new", "queued", "running", "finished", "failed", "cancelled", "interrupted"]
LIVE: tuple[State, ...] = ("queued", "running")
"""The states of a job that a process holds."""


@dataclass(frozen=True)
class JobFolder:
    """One such folder."""

    folder: Path

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def log(self) -> EventLog:
        return EventLog(self.folder / EVENTS)

    def writer(self) -> LogWriter:
        """Open the log for appending; only for the process that holds the lock."""
        return LogWriter(self.folder / EVENTS)

    @property
    def lock_path(self) -> Path:
        return self.folder / LOCK

    @property
    def result_path(self) -> Path:
        return self.folder / RESULT

    @property
    def errors(self) -> Path:
        return self.folder / ERRORS

    def state(self, log: EventLog | None = None) -> State:
        """Return the job's state; the lock is checked before the log is read, so of a job that has ended all is there.

        Args:
            log: the job's, where it has been read before: only what was added is read.

        Raises:
            SDSError: the record is broken.
        """
        alive = lock.held(self.lock_path)
        if not alive and self.result_path.exists():
            return "finished"
        events = (log or self.log).read()
        last = events[-1] if events else None
        if alive:
            return "queued" if isinstance(last, JobQueued) else "running"
        match last:
            case None:
                return "new"
            case JobFailed():
                return "failed"
            case JobCancelled():
                return "cancelled"
            case _:
                return "interrupted"

    def cancel(self) -> None:
        """Ask the worker to stop at the next opportunity; one whose folder is gone stops by itself.

        Raises:
            SDSError: the disk is full.
        """
        try:
            (self.folder / CANCEL).touch()
        except FileNotFoundError:
            pass
        except OSError as error:
            raise disk_error(self.folder, error) from error

    @property
    def cancel_requested(self) -> bool:
        return (self.folder / CANCEL).exists()
