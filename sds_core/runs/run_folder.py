"""The folder of a run: configuration first, events appended, one checkpoint per block, the result last.

runs/<id>/config.json            the configuration
          events.jsonl           the log, one JSON object per line
          lock                   held by the worker while it runs
          cancel                 exists once the user has asked to stop
          distributions/         histograms and statistics, one Parquet file for each pass and block
          phase1|2|3|4/          block-000.safetensors …: sparse, re-dense, final, distilled weights
          result.json            perplexities, counts, seconds
          note.txt               the user's note
          zero-shot.json         accuracy on tasks, where it was measured
          stderr.txt             the worker's standard error; of several runs of one worker, in the first

Importing this module stays cheap, for the app's first page lists runs: what needs the methods is imported where used.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sds_core import __version__
from sds_core.errors import SDSError
from sds_core.files import disk_error, remove_folder
from sds_core.files import runs_folder as root
from sds_core.options import Overrides
from sds_core.pruning.stages import Stage
from sds_core.runs import lock, typed_json
from sds_core.runs.events import BlockFinished, DistillationSaved, ModelLoaded, first, of_kind
from sds_core.runs.job_folder import EVENTS, RESULT, JobFolder
from sds_core.runs.run_result import RunResult

if TYPE_CHECKING:
    from sds_core.runs.config import RunConfig

ID = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
CONFIG = "config.json"
RECORD = (CONFIG, EVENTS, RESULT)
"""The files that a finished run has in every case."""
DISTRIBUTIONS = "distributions"
"""The folder of the record of layers, within a run's."""
FOLDERS: dict[Stage, str] = {"sparse": "phase1", "redense": "phase2", "final": "phase3", "distilled": "phase4"}


def ids() -> list[str]:
    """Ids of all runs, newest first; broken ones are among them."""
    found: list[tuple[int, str]] = []
    for path in root().glob(f"*/{CONFIG}"):
        if ID.fullmatch(path.parent.name):
            with suppress(OSError):  # removed since, or a link to nowhere
                found.append((path.stat().st_mtime_ns, path.parent.name))
    return [name for _, name in sorted(found, reverse=True)]


def every_run() -> Iterator[Run]:
    """Yield the runs that can be opened, newest first; lists of ids name the others."""
    for name in ids():
        with suppress(SDSError):
            yield open_run(name)


def open_run(run: str) -> Run:
    """A run by its id; ids from outside are looked up, never joined to a path unchecked.

    Raises:
        SDSError: the id is malformed, or there is no such run.
    """
    run = run.rstrip("/").removeprefix("runs/")
    if not ID.fullmatch(run):
        raise SDSError("not a run id", got=run, allowed="small letters, digits and hyphens, 64 at most")
    folder = root() / run
    if folder.is_symlink():
        raise SDSError(f"run {run} is a link to another place", cure=f"move its folder to {root()}")
    if not (folder / CONFIG).is_file():
        raise SDSError("there is no such run", got=run, cure="see: python -m sds_core list")
    return Run(folder)


def preceding(config: RunConfig) -> Run | None:
    """Return the run that made the phase from which a run continues; None where there is none, or it is gone.

    A run that only inherited that phase is passed over, so phases fall with every step back, and going back comes to an
    end whatever the records say, which may come from elsewhere.
    """
    origin, passed = config.parent, set[str]()
    while config.parent and origin and origin.run not in passed:
        passed.add(origin.run)
        try:
            run = open_run(origin.run)
            before = run.config
        except SDSError:
            return None
        if before.phase <= config.parent.phase:
            return run
        origin = before.parent
    return None


@dataclass(frozen=True)
class Run(JobFolder):
    """One run's folder."""

    @property
    def config(self) -> RunConfig:
        """The run's configuration.

        Raises:
            SDSError: the file is broken or from an incompatible version.
        """
        from sds_core.runs.config import RunConfig

        return RunConfig.from_dict(self.raw_config())

    def raw_config(self) -> Overrides:
        """The configuration as the plain, unchecked values of its file.

        Raises:
            SDSError: the file is broken.
        """
        try:
            asked = typed_json.load((self.folder / CONFIG).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise SDSError(f"the configuration of run {self.id} is broken: {error}") from error
        if not isinstance(asked, dict):
            raise SDSError(f"the configuration of run {self.id} is broken: not a table of options")
        return asked

    @property
    def experiment(self) -> str:
        """The experiment that it names; empty where it names none or its configuration is broken."""
        with suppress(SDSError):
            return str(self.raw_config().get("experiment") or "")
        return ""

    def reconfigure(self, config: RunConfig) -> None:
        """Replace the configuration; the run keeps its place among the others, which is by age.

        Raises:
            SDSError: another process works on the run, it is finished or gone, or the disk is full.
        """
        path = self.folder / CONFIG
        descriptor = self.take_lock()
        try:
            self.refuse_finished()
            age = path.stat().st_mtime_ns
            typed_json.write(path, config.to_dict())
            os.utime(path, ns=(age, age))
        finally:
            os.close(descriptor)

    def refuse_finished(self) -> None:
        """Refuse to work on a run that needs no work.

        Raises:
            SDSError: it is finished.
        """
        if self.result_path.exists():
            raise SDSError(f"run {self.id} is finished already", cure="start a new run, or export this one")

    def begun(self) -> bool:
        """Whether the run has finished a block of its own, or saved a step of distilling.

        Raises:
            SDSError: the log is broken.
        """
        events = self.log.read()
        done = [*of_kind(events, BlockFinished), *of_kind(events, DistillationSaved)]
        return any(event.inherited_from is None for event in done)

    def result(self) -> RunResult | None:
        """Return the result, or None while there is none.

        Raises:
            SDSError: the file is broken.
        """
        try:
            return RunResult.parse(self.result_path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise self._unreadable_result(error) from error

    def _unreadable_result(self, error: Exception) -> SDSError:
        """Return the error for a result that cannot be read; none that is sound is to be deleted."""
        try:
            stored: Any = typed_json.load(self.result_path.read_text(encoding="utf-8"))
            version = str(stored["software"]["version"])
        except (OSError, ValueError, LookupError, TypeError):
            version = __version__
        if version != __version__:
            return SDSError(
                f"the result of run {self.id} is of another version of SDS Studio: {error}",
                got=version,
                allowed=__version__,
                cure="read it with the version that wrote it",
            )
        resumable = any((self.folder / name).is_dir() for name in FOLDERS.values())
        cure = "delete result.json and resume" if resumable else "import or repeat the run"
        return SDSError(f"the result of run {self.id} is broken: {error}", cure=cure)

    def finished_result(self) -> RunResult:
        """Return the result.

        Raises:
            SDSError: the run is not finished.
        """
        result = self.result()
        if result is None:
            cure = f"run: python -m sds_core resume {self.id}"
            raise SDSError(f"run {self.id} is {self.state()}, not finished", cure=cure)
        return result

    def model(self) -> ModelLoaded:
        """Return the identity of the model that the run works on.

        Raises:
            SDSError: its record does not say.
        """
        loaded = first(self.log.read(), ModelLoaded)
        if loaded is None:
            raise SDSError(f"the record of run {self.id} names no model", cure="repeat the run")
        return loaded

    def take_lock(self) -> int:
        """The lock's descriptor, to be handed to a worker.

        Raises:
            SDSError: another process works on this run, or it is gone.
        """
        descriptor = lock.take(self.lock_path)
        if descriptor is None:
            raise lock.refuse_second(self.lock_path, self.id)
        return descriptor

    def delete(self) -> None:
        """Remove the run; of a link, the link alone.

        Raises:
            SDSError: it is being worked on, or is gone.
        """
        if self.folder.is_symlink():
            self.folder.unlink(missing_ok=True)
            return
        descriptor = self.take_lock()
        try:
            remove_folder(self.folder)
        finally:
            os.close(descriptor)

    def drop_weights(self) -> None:
        """Remove the weights of all stages."""
        for folder in FOLDERS.values():
            shutil.rmtree(self.folder / folder, ignore_errors=True)

    def make_folder(self, name: str) -> None:
        """Make a folder inside the run's, unless it exists.

        Raises:
            SDSError: the run's folder is gone, or the disk is full.
        """
        try:
            (self.folder / name).mkdir(exist_ok=True)
        except OSError as error:
            raise disk_error(self.folder / name, error) from error

    def checkpoint(self, stage: Stage, block: int) -> Path:
        """Return the file of a stage's weights of a block."""
        return self.folder / FOLDERS[stage] / f"block-{block:03}.safetensors"

    def checkpoints(self, stage: Stage) -> dict[int, str]:
        """SHA-256 by block of every checkpoint of a stage that counts: those named in the record."""
        return {e.block: e.sha256 for e in of_kind(self.log.read(), BlockFinished) if e.stage == stage}

    def stage_digest(self, stage: Stage) -> str:
        """One digest over a stage's checkpoints."""
        return hashlib.sha256(repr(sorted(self.checkpoints(stage).items())).encode()).hexdigest()
