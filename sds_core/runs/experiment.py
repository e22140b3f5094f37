"""Experiments: runs grouped by name that share model, texts and pattern; each method branches from a base pruner's run.

In phase 1 every base pruner has one run. Every method continues from it with a run for each further phase: phase 2,
which controls do not have, phase 3, and phase 4 where the model is distilled. There is no file of its own: an
experiment is the runs whose configuration names it.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from sds_core.errors import SDSError
from sds_core.options import Overrides
from sds_core.pruning.methods import make_method
from sds_core.pruning.registry import NO_PRUNER
from sds_core.pruning.titles import BASE
from sds_core.runs.branch import as_parent, branch, can_be_parent
from sds_core.runs.config import FIXED_BY_PARENT, RunConfig, meaning
from sds_core.runs.job_folder import LIVE
from sds_core.runs.phases import PLAIN, RECONSTRUCTED
from sds_core.runs.run_folder import Run, every_run
from sds_core.runs.variant import Variant, variant_of

SHARED = tuple(name for name in FIXED_BY_PARENT if name != "pruner")
"""The options that are the same in all runs of an experiment."""
PREFERRED = ("finished", "running", "queued", "cancelled", "interrupted", "new", "failed")
"""Of several runs of one phase, the one whose state comes first here counts, then the newest."""


@dataclass(frozen=True)
class Working:
    """Options of a run that do not affect its outcome: every phase may set its own."""

    device: str
    threads: int
    weights: str
    keep_weights: bool
    partial: bool

    @classmethod
    def of(cls, config: RunConfig) -> Working:
        """Return those of a run."""
        return cls(**{name: getattr(config, name) for name in WORKING})


WORKING = tuple(field.name for field in dataclasses.fields(Working))


@dataclass(frozen=True)
class Experiment:
    """A named group of runs; empty until its first phase begins."""

    name: str
    settings: RunConfig
    """Its shared options; the values of other options are irrelevant."""
    members: tuple[tuple[Run, RunConfig], ...] = ()
    """Its runs with their configurations, newest first."""

    @property
    def variants(self) -> list[Variant]:
        """The variants that its runs belong to: those from no base pruner first, each kind in the order of creation."""
        found: list[Variant] = []
        for _, config in reversed(self.members):
            # A phase-1 run belongs to its base pruner, whatever method it was created with.
            names = [Variant(BASE, config.pruner)]
            if config.checkpoint:
                names = [Variant(config.method, config.pruner)]
            elif config.phase != 1 and config.phase_numbers[-1] > 1:
                names.append(variant_of(config))
            found += [variant for variant in names if variant not in found]
        # What has a phase 3 of its own is no mere beginning of a form of its method that adjusts more.
        own = [variant_of(config) for _, config in self.members if config.phase in (0, 3)]
        shorter = [
            begun
            for variant in found
            for phase in variant.phase_numbers[:-1]
            if (begun := variant.until(phase)) != variant and (phase == 3 or begun not in own)
        ]
        longest = [variant for variant in found if variant not in shorter]
        return sorted(longest, key=lambda variant: variant.method != BASE and variant.pruner != NO_PRUNER)

    def run_of(self, variant: Variant, phase: int) -> Run | None:
        """Return the run of a variant's phase; all variants from one base pruner share its phase 1."""
        found = [run for run, config in self.members if _does(config, variant, phase)]
        return min(found, key=lambda run: PREFERRED.index(run.state()), default=None)

    def finished(self, variant: Variant, phase: int) -> bool:
        """Whether a variant's phase is done; a later phase has taken over what it recorded."""
        later = (self.run_of(variant, later_phase) for later_phase in variant.phase_numbers if later_phase >= phase)
        return any(run is not None and run.state() == "finished" for run in later)

    def next_phase(self, variants: Iterable[Variant]) -> int | None:
        """Return the earliest phase that one of the variants needs; None where all are done."""
        return min((phase for variant in variants if (phase := self.needed_phase(variant))), default=None)

    def needed_phase(self, variant: Variant) -> int | None:
        """Return a variant's next phase: its first unfinished one, or an earlier one whose weights are gone."""
        phase = next((step for step in variant.phase_numbers if not self.finished(variant, step)), None)
        while phase and phase > 1:
            before = variant.before(phase)
            parent = self.run_of(variant, before)
            if parent is not None and (parent.state() != "finished" or can_be_parent(parent, before)):
                break
            phase = before
        return phase

    def live(self) -> list[Run]:
        """Return the runs that are queued or running."""
        return [run for run, _ in self.members if run.state() in LIVE]

    def configs(self, variants: Sequence[Variant], phase: int) -> list[RunConfig]:
        """Return configurations for a phase of the variants that need a new run for it.

        Raises:
            SDSError: a variant has not finished the phase before.
        """
        wanted: list[Variant] = []
        for variant in variants:
            needed = self.needed_phase(variant)
            step = variant.base if phase == 1 else variant
            stopped = (run := self.run_of(step, phase)) is not None and run.state() != "finished"
            if (
                needed is not None
                and needed <= phase
                and phase in step.phase_numbers
                and not stopped
                and step not in wanted
            ):
                wanted.append(step)
        return [self.config_of(variant, phase) for variant in wanted]

    def config_of(self, variant: Variant, phase: int) -> RunConfig:
        """Return the configuration of a variant's phase.

        Raises:
            SDSError: the phase before is not finished, or its weights are gone.
        """
        if phase == 1:
            own = {"pruner": variant.pruner, "method": BASE, "options": {}, "schedule": "staged", "phase": 1, **PLAIN}
            anew = {"experiment": self.name, "parent": None, "pruner_sha256": "", "title": ""}
            return RunConfig.from_dict(self.settings.to_dict() | own | anew)
        if phase not in variant.phase_numbers:
            raise SDSError(f"{variant.name} has no phase {phase}", allowed=", ".join(map(str, variant.phase_numbers)))
        before = variant.before(phase)
        parent = self.run_of(variant, before)
        if parent is None or not self.finished(variant, before):
            raise SDSError(
                f"phase {before} of {variant.name} is not finished in experiment {self.name}",
                cure=f"run phase {before} first",
            )
        changes: Overrides = dataclasses.asdict(Working.of(self.settings))
        if before == 1:
            changes |= {"method": variant.method, "options": variant.options}
        changes |= variant.until(phase).reconstruct_options
        config = parent.config
        if before == 1 and config.phase == 0:  # its options would be inherited with it
            config = dataclasses.replace(config, options={}, **PLAIN)
        return branch(config, changes, as_parent(parent, before))


def _does(config: RunConfig, variant: Variant, phase: int) -> bool:
    """Whether a run with this configuration does a variant's phase."""
    if phase == 1 and config.phase == 1:
        return config.pruner == variant.pruner
    return config.phase in (0, phase) and phase in config.phase_numbers and variant.same_as(config, phase)


def experiments() -> list[Experiment]:
    """Return all experiments, the one with the newest run first; runs that cannot be read are left out.

    Runs that name none are grouped by their shared options, under the id of the first.
    """
    known: list[tuple[Run, RunConfig]] = []
    first_of: dict[tuple[object, ...], str] = {}
    for run in every_run():
        with suppress(SDSError):  # its own page says why
            config, _ = run.config, run.state()
            known.append((run, config))
            if not config.experiment:
                first_of[_shared(config)] = run.id  # the oldest comes last
    groups: dict[str, list[tuple[Run, RunConfig]]] = {}
    for run, config in known:
        groups.setdefault(config.experiment or first_of[_shared(config)], []).append((run, config))
    return [Experiment(name, members[-1][1], tuple(members)) for name, members in groups.items()]


def _shared(config: RunConfig) -> tuple[object, ...]:
    """Return the values of the options that runs of an experiment share."""
    return tuple(meaning(name, getattr(config, name)) for name in SHARED)


def find(name: str) -> Experiment:
    """Return the experiment with a name.

    Raises:
        SDSError: there is none.
    """
    known = experiments()
    for experiment in known:
        if experiment.name == name:
            return experiment
    names = ", ".join(experiment.name for experiment in known)
    raise SDSError("there is no such experiment", got=name, allowed=names or "none exists yet")


def with_settings(settings: RunConfig, preferred: str = "") -> Experiment:
    """Return an experiment with these shared options, or an empty one with a new name.

    Args:
        settings: its options.
        preferred: the name to choose where several have these options; else the newest is chosen.
    """
    known = sorted(experiments(), key=lambda experiment: experiment.name != preferred)
    for experiment in known:
        if not differing(experiment.settings, settings):
            return dataclasses.replace(experiment, settings=_written_as(experiment.settings, settings))
    return Experiment(_new_name(settings, {experiment.name for experiment in known}), settings)


def config_in(name: str, asked: Overrides) -> RunConfig:
    """Return the configuration of a run that the command line adds to an experiment.

    Options that are not given are the experiment's, once it exists.

    Raises:
        SDSError: it contradicts the experiment, or the phase before is not finished.
    """
    phase = asked.get("phase", 0)
    if phase == 0:
        raise SDSError("an experiment goes phase by phase", cure="add --phase 1, 2, 3 or 4, or drop --experiment")
    if phase == 1 and asked.get("method", BASE) != BASE:
        raise SDSError(
            "phase 1 belongs to the base pruner alone, and all methods share it", cure="drop --method, or use phase 2"
        )
    if phase == 1:
        make_method(BASE, asked.get("options", {}))
    known = next((experiment for experiment in experiments() if experiment.name == name), None)
    if known is None and phase > 1:
        known = find(name)
    fixed = known.settings.to_dict() if known else {}
    own = {"method": BASE, "options": {}, "phase": 1, "parent": None, "experiment": name}
    settings = RunConfig.from_dict(
        {"schedule": "staged"}
        | {key: value for key, value in fixed.items() if key in (*SHARED, *WORKING)}
        | {key: value for key, value in asked.items() if key not in own}
        | own
    )
    if known and (other := differing(known.settings, settings)):
        raise SDSError(
            f"experiment {name} has another {' and '.join(other)}", cure="give this run another experiment's name"
        )
    if known:
        settings = _written_as(known.settings, settings)
    experiment = Experiment(name, settings, known.members if known else ())
    adjusted = {name: getattr(settings, name) for name in RECONSTRUCTED}
    variant = Variant(asked.get("method", RunConfig.method), settings.pruner, asked.get("options", {}), **adjusted)
    config = experiment.config_of(variant.base if phase == 1 else variant, phase)
    return dataclasses.replace(config, title=settings.title)


def differing(one: RunConfig, other: RunConfig) -> list[str]:
    """Return the shared options in which two runs differ."""
    return [name for name, mine, its in zip(SHARED, _shared(one), _shared(other), strict=True) if mine != its]


def _written_as(known: RunConfig, settings: RunConfig) -> RunConfig:
    """Return settings whose shared options, which say the same, are written as an experiment's runs write them."""
    return dataclasses.replace(settings, **{name: getattr(known, name) for name in SHARED})


def _new_name(settings: RunConfig, taken: set[str]) -> str:
    """Return a readable name that no experiment has, such as demo-2-4 or demo-2-4-2."""
    model = settings.model.rstrip("/").rpartition("/")[2].removesuffix(".gguf")
    words = re.sub(r"[^a-z0-9]+", "-", f"{model}-{settings.pattern}".lower().replace("%", "pc")).strip("-")[-50:]
    name, number = words.strip("-"), 1
    while (found := name if number == 1 else f"{name}-{number}") in taken:
        number += 1
    return found
