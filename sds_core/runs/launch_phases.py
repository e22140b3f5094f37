"""Launch an experiment: its next phase, or one phase after the other until all are done."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from sds_core.errors import SDSError
from sds_core.files import make_folder, write_text
from sds_core.models.check_model import check_calibration, check_model
from sds_core.models.device import pick_device
from sds_core.options import Overrides
from sds_core.pruning.registry import PrunerRegistry
from sds_core.runs import lock, typed_json, worker
from sds_core.runs.events import ModelLoaded, of_kind
from sds_core.runs.experiment import Experiment, Working, differing, experiments, find
from sds_core.runs.job_folder import LIVE
from sds_core.runs.new_run import create_all, deleted_on_error
from sds_core.runs.plugins import load_registry
from sds_core.runs.run_folder import Run, ids, root
from sds_core.runs.variant import Variant


@dataclass(frozen=True)
class Plan:
    """The variants that a worker takes through all phases of an experiment, one phase after the other."""

    experiment: str
    variants: tuple[Variant, ...]
    working: Working

    @classmethod
    def of(cls, experiment: Experiment, variants: Iterable[Variant]) -> Plan:
        """Return the plan for all phases that variants of an experiment still need, with its present settings."""
        return cls(experiment.name, tuple(variants), Working.of(experiment.settings))

    def next_runs(self) -> list[Run]:
        """Return the runs of the next phase, created or resumed; empty once all is done, or it was cancelled.

        Raises:
            SDSError: a pruner is not available, or the disk is full; why is on record (`stopped`).
        """
        try:
            return self._next_runs()
        except SDSError as error:
            with suppress(SDSError):  # the folder is gone, or the disk full: the worker's stderr has it as well
                write_text(_stop_note(self.experiment), f"{error}\n")
            raise

    def _next_runs(self) -> list[Run]:
        if _cancel_note(self.experiment).exists():
            return []
        known = find(self.experiment)
        experiment = replace(known, settings=replace(known.settings, **asdict(self.working)))
        phase = experiment.next_phase(self.variants)
        if phase is None:
            return []
        return runs_for(experiment, self.variants, phase, load_registry(variant.pruner for variant in self.variants))

    def to_text(self) -> str:
        """Return the plan as one word of a command line."""
        return json.dumps(typed_json.to_json(self))

    @classmethod
    def from_text(cls, text: str) -> Plan:
        """Return the inverse of `to_text`."""
        return typed_json.parse(cls, text)


def launch_phase(experiment: Experiment, variants: Sequence[Variant], pruners: PrunerRegistry) -> list[Run]:
    """Start a worker for the next phase of the variants; return its runs.

    Raises:
        SDSError: the experiment is being worked on or has gone on since it was read, the model or a pruner is not
            available, or the disk is full; no new run is left then.
    """
    return _launch(experiment, variants, pruners)


def launch_all(experiment: Experiment, variants: Sequence[Variant], pruners: PrunerRegistry) -> list[Run]:
    """Start a worker for all phases that the variants still need; return the runs of the first of them.

    Raises:
        SDSError: as for `launch_phase`.
    """
    return _launch(experiment, variants, pruners, Plan.of(experiment, variants))


def _launch(
    experiment: Experiment, variants: Sequence[Variant], pruners: PrunerRegistry, plan: Plan | None = None
) -> list[Run]:
    """Create the runs of the next phase and start them; delete the new ones if that fails."""
    check_model(experiment.settings.model)
    check_calibration(experiment.settings.model, experiment.settings.calibration)
    make_folder(root())
    held = lock.take(plan_lock(experiment.name))
    if held is None:
        raise _at_work(experiment)
    try:
        for note in (_stop_note, _cancel_note):
            note(experiment.name).unlink(missing_ok=True)
        now, phase = _as_it_is_now(experiment), experiment.next_phase(variants)
        if phase is None or now.next_phase(variants) != phase:
            raise SDSError(f"experiment {experiment.name} has gone on meanwhile", cure="go on from what it is now")
        _refuse_dropped_weights(experiment, variants, phase)
        known = set(ids())
        runs = runs_for(now, variants, phase, pruners)
        arguments = ["--plan", plan.to_text()] if plan else []
        with deleted_on_error([run for run in runs if run.id not in known]):
            worker.launch(runs, arguments=arguments, held=held if plan else None, stay=True)
        return runs
    finally:
        os.close(held)  # the worker of a plan has inherited it


def _refuse_dropped_weights(experiment: Experiment, variants: Sequence[Variant], phase: int) -> None:
    """Refuse a phase that would drop the weights which the next one begins with.

    Raises:
        SDSError: weights are not kept, and a variant has later phases.
    """
    last = max(variant.phase_numbers[-1] for variant in variants)
    if not experiment.settings.keep_weights and phase < last:
        raise SDSError(
            f"phase {phase + 1} begins with the weights of phase {phase}, which would not be kept",
            cure="keep the weights until the last phase",
        )


def _as_it_is_now(experiment: Experiment) -> Experiment:
    """Return an experiment with the runs that other tabs or processes have added since it was read.

    Raises:
        SDSError: one of its runs is at work, or it has begun with other options.
    """
    now = next((one for one in experiments() if one.name == experiment.name), experiment)
    if now.live():
        raise _at_work(experiment)
    if other := differing(now.settings, experiment.settings):
        what = f"experiment {experiment.name} has begun meanwhile, with another {' and '.join(other)}"
        raise SDSError(what, cure="look at it, or try again for one with another name")
    return replace(now, settings=experiment.settings)


def _at_work(experiment: Experiment) -> SDSError:
    return SDSError(f"experiment {experiment.name} is being worked on", cure="wait for it, or cancel it")


def runs_for(experiment: Experiment, variants: Sequence[Variant], phase: int, pruners: PrunerRegistry) -> list[Run]:
    """Return the runs to launch for a phase: those that stopped on the way, with the present settings, and new ones.

    Raises:
        SDSError: a pruner is not available, the phase before is not finished, a run has begun on another device, or
            the disk is full.
    """
    steps = [variant.base if phase == 1 else variant for variant in variants if phase in variant.phase_numbers]
    found = [run for variant in steps if (run := experiment.run_of(variant, phase))]
    stopped = dict.fromkeys(run for run in found if run.state() not in ("finished", *LIVE))
    for run in stopped:
        reconfigure(run, asdict(Working.of(experiment.settings)))
    return [*stopped, *create_all(experiment.configs(variants, phase), pruners)]


def reconfigure(run: Run, working: Overrides) -> None:
    """Let a stopped run go on with other working options; one that has finished a block keeps its threads.

    Raises:
        SDSError: it has finished a block on another device, the options contradict it, another process works on it,
            or the disk is full.
    """
    config, changes = run.config, dict(working)
    if run.begun():
        changes.pop("threads", None)  # for the same bits
        asked, its = pick_device(changes.get("device", config.device)), of_kind(run.log.read(), ModelLoaded)[-1].device
        if str(asked) != its:
            raise SDSError(
                f"run {run.id} has begun on {its}", got=str(asked), cure=f"choose {its}, or delete it to begin anew"
            )
    if (new := replace(config, **changes)) != config:
        run.reconfigure(new)


def plan_lock(experiment: str) -> Path:
    """Return the lock that a worker holds until its plan is done, between two phases too."""
    return root() / f".{experiment}.plan"


def at_work(experiment: str) -> bool:
    """Whether a worker is working through a plan of an experiment."""
    return lock.held(plan_lock(experiment))


def cancel(experiment: Experiment) -> None:
    """Ask the workers of an experiment to stop, and end its plan, between two phases too.

    Raises:
        SDSError: the disk is full.
    """
    if at_work(experiment.name):
        write_text(_cancel_note(experiment.name), "")
    for run in experiment.live():
        run.cancel()


def cancelled(experiment: Experiment) -> bool:
    """Whether the workers of an experiment have been asked to stop."""
    live = experiment.live()
    return all(run.cancel_requested for run in live) if live else _cancel_note(experiment.name).exists()


def stopped(experiment: str) -> str:
    """Return why the last plan of an experiment ended between two phases, where no run's log says so; else empty."""
    try:
        return _stop_note(experiment).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _cancel_note(experiment: str) -> Path:
    return root() / f".{experiment}.cancelled"


def _stop_note(experiment: str) -> Path:
    return root() / f".{experiment}.stopped"
