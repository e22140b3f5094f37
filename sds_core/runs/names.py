"""Names of runs: after the method that made the last weights, not the one that a run was started for."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from sds_core.pruning.methods import METHODS, option_names
from sds_core.pruning.reconstruction import MATRIX, inner_of
from sds_core.pruning.stages import STAGE_NAMES, Stage
from sds_core.pruning.titles import BASE
from sds_core.runs.config import CALIBRATED, RunConfig
from sds_core.runs.phases import PLAIN, RECONSTRUCTED, without_distilling

SEPARATOR = " · "


def last_stage(config: RunConfig) -> Stage:
    """Return the stage of the weights that a run ends with."""
    return config.written_by(config.phases[-1])


def made_by(config: RunConfig, stage: Stage) -> RunConfig:
    """Return the configuration of one whole run that makes the weights of a run's stage.

    Sparse weights are the base pruner's alone, whatever method the run was started for. Phase 3 of a run in single
    phases is its method, staged, and phase 4 that with its model distilled. Re-dense weights are the end of no whole
    run: their configuration stays as it is.
    """
    if stage == "sparse" and not config.checkpoint:
        return replace(config, method=BASE, options={}, schedule="fused", phase=0, parent=None, **PLAIN)
    if stage == "final":
        return replace(config, phase=0, parent=None, **without_distilling(config.to_dict()))
    return replace(config, phase=0, parent=None) if stage == "distilled" else config


def name_of(config: RunConfig) -> str:
    """Return the name of what a run ends with: Wanda, SDS · Wanda, SDS · Wanda, re-dense, or SDS, distilled · Wanda."""
    return SEPARATOR.join(_parts_of(config))


def _parts_of(config: RunConfig) -> tuple[str, ...]:
    """Return the parts of that name: the method, and the base pruner that it starts from."""
    if config.checkpoint:
        return (METHODS[config.method].title,)
    stage = last_stage(config)
    if stage == "sparse":
        return (config.pruner_title,)
    then = f", {STAGE_NAMES[stage]}" if stage == "distilled" else ""
    if config.method == BASE:
        inner = inner_of(config.reconstruct)
        return (config.pruner_title + (f", {inner}s adjusted" if inner != MATRIX else "") + then,)
    free = ", re-dense" if stage == "redense" else ""
    return f"{METHODS[config.method].title}{then}", f"{config.pruner_title}{free}"


def id_prefix(config: RunConfig) -> str:
    """Return the beginning of a run's id, made of the same words as its name: sds-wanda-2-4."""
    stage = last_stage(config)
    kind = made_by(config, stage).method + (f"-{stage}" if stage in ("redense", "distilled") else "")
    words = f"{kind}-{config.pruner}-{config.pattern}".lower().replace(":", "-").replace("%", "pc")
    return re.sub(r"[^a-z0-9-]+", "-", words).strip("-")[:50]


def pattern_of(config: RunConfig) -> str:
    """Return how many weights are pruned, and of which layers."""
    excluded = " ".join(sorted(set(config.exclude.split())))
    return str(config.parsed_pattern()) + (f" without {excluded}" if excluded else "")


def called(runs: Mapping[str, RunConfig]) -> dict[str, str]:
    """Return a name for each run that no other has: `name_of`, and what sets it apart from those of the same name.

    Args:
        runs: configurations by run id.
    """
    return {run: SEPARATOR.join(parts) for run, parts in parts_called(runs).items()}


def parts_called(runs: Mapping[str, RunConfig]) -> dict[str, tuple[str, ...]]:
    """Return the parts of those names: the method, its base pruner where it has one, and what sets the run apart."""
    several = len({pattern_of(config) for config in runs.values()}) > 1
    short = {run: (*_parts_of(c), *([pattern_of(c)] if several else [])) for run, c in runs.items()}
    alike = {parts: [runs[run] for run in runs if short[run] == parts] for parts in short.values()}
    full = {run: (*parts, *apart(runs[run], alike[parts])) for run, parts in short.items()}
    known = list(full.values())
    return {run: (*parts, run[-6:]) if known.count(parts) > 1 else parts for run, parts in full.items()}


def apart(config: RunConfig, others: Sequence[RunConfig]) -> Iterator[str]:
    """Yield the settings and options of a run that are not the same in all of the others, in words."""
    made = [made_by(other, last_stage(other)) for other in others]
    mine = made_by(config, last_stage(config))
    for name in ("model", "checkpoint", "schedule", "allocation", *RECONSTRUCTED, *CALIBRATED):
        if len({getattr(other, name) for other in made}) > 1:
            yield f"{name.replace('_', ' ')} {getattr(mine, name)}"
    for name in option_names(mine.method):
        if len({getattr(other.made_method(), name) for other in made}) > 1:
            value = getattr(mine.made_method(), name)
            text = ("no", "yes")[value] if isinstance(value, bool) else f"{value:g}"
            yield f"{name.replace('_', ' ')} {text}"
