"""The runs whose layers can be shown: the variants of an experiment, or any single run."""

from __future__ import annotations

from pages.ui import cached
from pages.ui.details_numbers import STAGES, Source
from pages.ui.model_layers import Model
from pages.ui.pictures import details
from pages.ui.variant_labels import base_title, colors, keys, titles
from sds_core.figures.palette import palette
from sds_core.pruning.titles import BASE
from sds_core.runs.experiment import Experiment
from sds_core.runs.experiment_record import PHASE_OF
from sds_core.runs.names import name_of
from sds_core.runs.run_folder import Run
from sds_core.runs.run_record import RunRecord
from sds_core.runs.variant import Variant


def of_experiment(experiment: Experiment | None, variants: list[Variant]) -> tuple[list[Source], Model]:
    """Return the variants with a record, and the model's layers.

    Raises:
        SDSError: a record is broken.
    """
    if experiment is None or not experiment.members:
        return [], Model(0, ())
    record = cached.experiment_record(experiment, variants)
    found = []
    names = zip(keys(variants), titles(variants), colors(variants), strict=True)
    for variant, (key, title, color) in zip(variants, names, strict=True):
        stages: dict[details.Stage, RunRecord] = {
            stage: run
            for stage in STAGES
            if PHASE_OF.get(stage) in variant.phase_numbers
            and (run := record.stage(variant, stage).record)
            and run.done(stage)
        }
        if stages:
            first = next(iter(stages.values()))
            name = details.RunName(key, title, color, base_title(variant))
            found.append(Source(name, first.config.parsed_pattern(), {"dense": first, **stages}))
    return found, Model(record.blocks, tuple(record.linears))


def of_run(run: Run) -> tuple[list[Source], Model]:
    """Return a single run, if it has a record, and its model's layers.

    Raises:
        SDSError: its record is broken.
    """
    config = run.config
    record = RunRecord(run, config)
    linears = tuple(record.linears())
    if record.model is None or not linears:
        return [], Model(0, ())
    (color,) = palette().assign([config.pruner if config.method == BASE else config.method])
    name = details.RunName(run.id, name_of(config), color)
    stages = {stage: record for stage in STAGES if stage == "dense" or record.done(stage)}
    return [Source(name, config.parsed_pattern(), stages)], Model(record.model.blocks, linears)
