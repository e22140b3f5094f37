"""Configure runs whose preceding phases are not done yet, for forecasts and command lines."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING

from sds_core.runs.config import Parent, RunConfig
from sds_core.runs.run_command import command
from sds_core.runs.run_folder import preceding
from sds_core.runs.variant import Variant, variant_of

if TYPE_CHECKING:
    from sds_core.runs.experiment import Experiment

AGAIN = "again"
"""The experiment in which a run without one is repeated: its phases find their parents by it."""
MADE = "RUN"
"""Stands for the run that the command line before has made."""


def planned(experiment: Experiment, variants: Iterable[Variant]) -> list[RunConfig]:
    """Return the configuration of every run that the variants still need, phase by phase."""
    steps: list[tuple[int, Variant]] = []
    for variant in variants:
        if needed := experiment.needed_phase(variant):
            steps += [
                (phase, variant.base if phase == 1 else variant) for phase in variant.phase_numbers if phase >= needed
            ]
    found: list[RunConfig] = []
    for phase, variant in sorted(steps, key=lambda step: step[0]):
        config = _config(experiment.settings, experiment.name, variant, phase)
        if config not in found:
            found.append(config)
    return found


def repeat(config: RunConfig) -> list[str]:
    """Return the command lines that repeat a run: those of all phases up to its own, in order.

    A line may continue `--from RUN`: from the run that the line before it has made.
    """
    if config.parent is None:
        return [command(config)]
    if (before := _before(config)) and not _follows(config):
        origin = dataclasses.replace(config.parent, run=MADE)
        return [*repeat(before), command(dataclasses.replace(config, parent=origin, experiment=""))]
    if config.schedule == "fused":  # what was distilled had been made in one pass
        return [command(dataclasses.replace(config, phase=0, parent=None))]
    name = config.experiment or AGAIN
    one = variant_of(config)
    earlier = [phase for phase in one.phase_numbers if phase < config.phase]
    kept = dataclasses.replace(config, keep_weights=True)  # for the next phase to continue from
    steps = [_config(kept, name, one.base if phase == 1 else one, phase) for phase in earlier]
    return [command(each) for each in (*steps, dataclasses.replace(config, experiment=name))]


def _follows(config: RunConfig) -> bool:
    """Whether the runs that a run continues from had its options, as far as is known."""
    before = _before(config)
    if before is None or config.parent is None:
        return True
    done = config.parent.phase
    return (done == 1 or variant_of(config).same_as(before, done)) and _follows(before)


def _before(config: RunConfig) -> RunConfig | None:
    """Return the configuration of the run that made what a run continues from; None where it is not known."""
    run = preceding(config)
    return run.config if run else None


def _config(settings: RunConfig, experiment: str, variant: Variant, phase: int) -> RunConfig:
    """Return a phase's configuration; of its parent nothing is known but the phase."""
    return dataclasses.replace(
        settings,
        pruner=variant.pruner,
        method=variant.method,
        options=variant.options,
        **variant.until(phase).reconstruct_options,
        schedule="staged",
        phase=phase,
        parent=Parent("", variant.before(phase), "") if phase > 1 else None,
        experiment=experiment,
        pruner_sha256="",
        title="",
    )
