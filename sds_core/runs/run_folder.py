"""The folder of a run: configuration first, events appended, a checkpoint a block, the result last.

runs/<id>/config.json            what was asked for
          events.jsonl           what happened, one JSON object a line
          lock                   held by the worker while it lives
          cancel                 there if the user asked it to stop
          distributions/         histograms and statistics, one Parquet file a walk and block
          phase1|2|3/            block-000.safetensors …: sparse, re-dense, final weights
          result.json            perplexities, counts, seconds
          note.txt               what its user wrote beside it

Importing this module stays cheap, for the app's first page lists runs: what needs the methods is imported where used.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sds_core.errors import SDSError
from sds_core.files import disk_error, write_json
from sds_core.pruning.stages import Stage
from sds_core.runs import lock
from sds_core.runs.events import (
    BlockFinished,
    Event,
    ModelLoaded,
    PerplexityMeasured,
    SparsityAllocated,
    first,
    of_kind,
)
from sds_core.runs.job_folder import JobFolder
from sds_core.runs.run_result import RunResult

if TYPE_CHECKING:
    from sds_core.pruning.registry import PrunerRegistry
    from sds_core.runs.config import Parent, RunConfig

ID = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
FOLDERS: dict[Stage, str] = {"sparse": "phase1", "redense": "phase2", "final": "phase3"}


def root() -> Path:
    """Where runs lie: `SDS_RUNS`, or `runs` in the current folder."""
    return Path(os.environ.get("SDS_RUNS") or "runs").resolve()


def ids() -> list[str]:
    """Ids of all runs, newest first."""
    found = [p for p in root().glob("*/config.json") if ID.fullmatch(p.parent.name)]
    return [p.parent.name for p in sorted(found, key=lambda p: (p.stat().st_mtime_ns, p.parent.name), reverse=True)]


def open_run(run: str) -> Run:
    """A run by its id; ids from outside are looked up, never joined to a path unchecked.

    Raises:
        SDSError: the id is malformed, or there is no such run.
    """
    run = run.rstrip("/").removeprefix("runs/")
    if not ID.fullmatch(run):
        raise SDSError("not a run id", got=run, allowed="small letters, digits and hyphens, 64 at most")
    folder = root() / run
    if not (folder / "config.json").is_file() or not folder.resolve().is_relative_to(root()):
        raise SDSError("there is no such run", got=run, cure="see: python -m sds_core list")
    return Run(folder)


def create(config: RunConfig, pruners: PrunerRegistry | None = None) -> Run:
    """Create the folder of a new run, record the SHA-256 of a plugin pruner, and link what the parent hands on.

    Args:
        config: what the run shall do.
        pruners: the pruners that it may use; None for the built-in ones.

    Raises:
        SDSError: the pruner is not available, the parent is gone, or the disk is full.
    """
    from sds_core.pruning.registry import BUILT_IN
    from sds_core.runs.names import id_prefix

    pruners = BUILT_IN if pruners is None else pruners
    pruners.require(config.pruner, config.pruner_sha256)
    config = dataclasses.replace(config, pruner_sha256=pruners.sha256(config.pruner))
    folder = root() / f"{id_prefix(config)}-{secrets.token_hex(3)}"
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise disk_error(folder, error) from error
    run = Run(folder)
    try:
        if config.parent:
            run.inherit(open_run(config.parent.run), config.parent)
        write_json(folder / "config.json", config.to_dict())
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise disk_error(folder, error) from error
    except SDSError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return run


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

        return RunConfig.from_dict(self.asked())

    def asked(self) -> dict[str, Any]:
        """The configuration as the plain, unchecked values of its file.

        Raises:
            SDSError: the file is broken.
        """
        try:
            asked = json.loads((self.folder / "config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise SDSError(f"the configuration of run {self.id} is broken: {error}") from error
        if not isinstance(asked, dict):
            raise SDSError(f"the configuration of run {self.id} is broken: not a table of options")
        return asked

    def result(self) -> RunResult | None:
        """Return the result, or None while there is none.

        Raises:
            SDSError: the file is broken.
        """
        try:
            return RunResult.parse((self.folder / "result.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise SDSError(
                f"the result of run {self.id} is broken: {error}", cure="delete result.json and resume"
            ) from error

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
            SDSError: another process works on this run.
        """
        descriptor = lock.take(self.lock_path, {"pid": os.getpid(), "since": time.time()})
        if descriptor is None:
            raise lock.refuse_second(self.lock_path, self.id)
        return descriptor

    def delete(self) -> None:
        """Remove the run.

        Raises:
            SDSError: it is being worked on.
        """
        descriptor = self.take_lock()
        shutil.rmtree(self.folder)
        os.close(descriptor)

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
        """Where a stage's weights of a block lie."""
        return self.folder / FOLDERS[stage] / f"block-{block:03}.safetensors"

    def checkpoints(self, stage: Stage) -> dict[int, str]:
        """SHA-256 by block of every checkpoint of a stage that counts: those named in the record."""
        return {e.block: e.sha256 for e in of_kind(self.log.read(), BlockFinished) if e.stage == stage}

    def stage_digest(self, stage: Stage) -> str:
        """One digest over a stage's checkpoints."""
        return hashlib.sha256(repr(sorted(self.checkpoints(stage).items())).encode()).hexdigest()

    def as_parent(self, phase: int) -> Parent:
        """This run as the parent of one that goes on with `phase`, 2 or 3.

        Raises:
            SDSError: the phase before is not finished here.
        """
        from sds_core.runs.config import Parent

        needed = _handed_on(phase)[-1]
        loaded = first(self.log.read(), ModelLoaded)
        complete = loaded is not None and len(self.checkpoints(needed)) == loaded.blocks
        if not complete or not self.checkpoint(needed, 0).exists():
            raise SDSError(
                f"run {self.id} holds no finished phase {phase - 1} to go on from",
                cure=f"run phase {phase - 1} first, with its weights kept",
            )
        return Parent(self.id, phase - 1, self.stage_digest(needed))

    def inherit(self, parent: Run, origin: Parent) -> None:
        """Link weights and distributions of the parent that the next phase needs, and repeat its record of them.

        Raises:
            SDSError: the parent's phase is not the one that `origin` means.
        """
        if parent.as_parent(origin.phase + 1) != origin:
            raise SDSError(f"phase {origin.phase} of run {parent.id} has changed", cure="branch from it again")
        stages = _handed_on(origin.phase + 1)
        (self.folder / "distributions").mkdir()
        for stage in stages:
            shutil.copytree(parent.folder / FOLDERS[stage], self.folder / FOLDERS[stage], copy_function=_link)
            for path in (parent.folder / "distributions").glob(f"{stage}-*.parquet"):
                _link(str(path), str(self.folder / "distributions" / path.name))
        log = self.writer()
        for event in parent.log.read():
            if _inheritable(event, stages):
                log.append(dataclasses.replace(event, inherited_from=parent.id))


def _handed_on(phase: int) -> tuple[Stage, ...]:
    """The stages that a phase needs of the run before; what it starts from comes last."""
    return ("sparse",) if phase == 2 else ("sparse", "redense")


def _inheritable(event: Event, stages: Sequence[Stage]) -> bool:
    """Whether an event belongs into the record of a branch that takes over these stages."""
    match event:
        case BlockFinished(stage=stage):
            return stage in stages
        case PerplexityMeasured(stage=stage):
            return stage in (*stages, "dense")
        case _:
            return isinstance(event, ModelLoaded | SparsityAllocated)


def _link(source: str, target: str) -> None:
    """A hard link where the file system has them, else a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
