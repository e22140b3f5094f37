"""Branch from a run: continue from one of its phases, inheriting weights and record."""

import dataclasses
import os
import shutil
from collections.abc import Sequence

from sds_core.errors import SDSError
from sds_core.options import Overrides
from sds_core.pruning.reconstruction import inner_of
from sds_core.pruning.stages import Stage
from sds_core.runs.config import FIXED_BY_PARENT, Parent, RunConfig, meaning
from sds_core.runs.events import BlockFinished, Event, ModelLoaded, PerplexityMeasured, SparsityAllocated, first
from sds_core.runs.phases import PHASES, PLAIN, phase_numbers_of, without_distilling
from sds_core.runs.run_folder import DISTRIBUTIONS, FOLDERS, Run


def can_be_parent(run: Run, finished: int) -> bool:
    """Whether a run holds the weights of its phase `finished`, 1 to 3, for another to continue from."""
    needed = run.config.written_by(PHASES[finished])
    loaded = first(run.log.read(), ModelLoaded)
    complete = loaded is not None and len(run.checkpoints(needed)) == loaded.blocks
    return complete and run.checkpoint(needed, 0).exists()


def as_parent(run: Run, finished: int) -> Parent:
    """Return a run as the parent of one that continues from its phase `finished`, 1 to 3.

    Raises:
        SDSError: that phase is not finished there.
    """
    if not can_be_parent(run, finished):
        raise SDSError(
            f"run {run.id} holds no finished phase {finished} to continue from",
            cure=f"run phase {finished} first, with its weights kept",
        )
    return Parent(run.id, finished, run.stage_digest(run.config.written_by(PHASES[finished])))


def branch(config: RunConfig, changes: Overrides, parent: Parent) -> RunConfig:
    """Return a configuration for the method's next phase after the parent's.

    Args:
        config: the parent's configuration.
        changes: options that differ from it.
        parent: the parent with its last finished phase.

    Raises:
        SDSError: the change would contradict what the parent has done.
    """
    kept = FIXED_BY_PARENT if parent.phase == 1 else (*FIXED_BY_PARENT, "method")
    again = [name for name in kept if name in changes]
    if fixed := [name for name in again if meaning(name, changes[name]) != meaning(name, getattr(config, name))]:
        raise SDSError(f"a branch keeps its parent's {' and '.join(fixed)}", cure="start a new run instead")
    changes = {name: value for name, value in changes.items() if name not in again}  # as the parent writes them
    method = changes.get("method", config.method)
    options = (config.options if method == config.method else {}) | changes.get("options", {})
    steps = phase_numbers_of(method, changes.get("reconstruct", config.reconstruct))
    phase = next((step for step in steps if step > parent.phase), 0)
    if not phase:
        raise SDSError(f"method {method} has no phase after phase {parent.phase}", cure="choose another method")
    place = {"phase": phase, "parent": dataclasses.asdict(parent), "options": options}
    if phase < 4:
        values = config.to_dict() | changes
        return RunConfig.from_dict(
            values | without_distilling(values) | place | {"schedule": changes.get("schedule", "staged")}
        )
    if options != config.options or inner_of(changes["reconstruct"]) != inner_of(config.reconstruct):
        raise SDSError("a branch keeps its parent's options and reconstruct", cure="start a new run instead")
    if changes.get("schedule", config.schedule) != config.schedule:  # it has made what is distilled
        raise SDSError("a branch keeps its parent's schedule", cure="drop --schedule")
    return RunConfig.from_dict(config.to_dict() | PLAIN | changes | place)


def inherit(run: Run, parent: Run, origin: Parent) -> None:
    """Link the parent's weights and distributions that the run's phase needs, and repeat the record of them.

    Raises:
        SDSError: the parent's phase is not the one that `origin` means.
    """
    if as_parent(parent, origin.phase) != origin:
        raise SDSError(f"phase {origin.phase} of run {parent.id} has changed", cure="branch from it again")
    stages = _inherited(parent.config, origin.phase)
    (run.folder / DISTRIBUTIONS).mkdir()
    for stage in stages:
        if (parent.folder / FOLDERS[stage]).exists():  # a fused run has kept the last alone
            shutil.copytree(parent.folder / FOLDERS[stage], run.folder / FOLDERS[stage], copy_function=_link)
    for phase in (*stages, "fused"):
        for path in (parent.folder / DISTRIBUTIONS).glob(f"{phase}-*.parquet"):
            _link(str(path), str(run.folder / DISTRIBUTIONS / path.name))
    log = run.writer()
    for event in parent.log.read():
        if _inheritable(event, stages):
            log.append(dataclasses.replace(event, inherited_from=parent.id))


def _inherited(config: RunConfig, finished: int) -> tuple[Stage, ...]:
    """Return the stages that a run hands on after a phase; the last is the one that its branches start from."""
    return tuple(config.written_by(PHASES[number]) for number in config.phase_numbers if number <= finished)


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
    """Make a hard link where the file system has them, else a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
