"""Measurements of finished runs, and whether two of them can be paired."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

from sds_core.errors import SDSError
from sds_core.models.text_spec import same_text
from sds_core.pruning.perplexity import Perplexity
from sds_core.pruning.stages import Stage
from sds_core.pruning.titles import BASE
from sds_core.runs.config import MEASURED, RunConfig
from sds_core.runs.experiment import WORKING
from sds_core.runs.names import last_stage, made_by, pattern_of
from sds_core.runs.phases import RECONSTRUCTED
from sds_core.runs.run_folder import Run, every_run, preceding

SAME_DENSE = 0.05
"""Nats by which the dense model's loss on a window may differ between two runs: more than precision and hardware do,
less than another model of the same size."""
INCIDENTAL = ("seed", "model", "title", "experiment", "dtype", *WORKING, *MEASURED)
"""Options that do not distinguish configurations: the seed, names, device and precision, and the evaluation (whether
model and windows are the same shows in the measurements)."""
NAMES_OF_WINDOWS = ("calibration", "bos")
"""Options that may differ where the calibration windows are the same, token by token."""

BEFORE: dict[Stage, tuple[Stage, ...]] = {"final": ("sparse",), "distilled": ("sparse", "final")}
"""Stages of pruned weights on the way to others."""


class Gone(str):
    """The id of a run that is gone, in place of its options."""


class Mismatch(StrEnum):
    """What keeps two outcomes from being paired window by window, in words."""

    TEXT = "another evaluation text, or other windows of it"
    MODEL = "another model"


@dataclass(frozen=True)
class Outcome:
    """The measurement of a run at one stage."""

    run: str
    config: RunConfig
    stage: Stage
    sparsity: float
    """Share of pruned weights among the prunable ones."""
    model_sparsity: float
    """Share of pruned weights among all."""
    measured: Perplexity
    dense: Perplexity
    evaluation_sha256: str
    calibration_sha256: str
    total: int
    """Weights of the model."""
    earlier_options: tuple[Any, ...] = ()
    """Options of phase 2, where they differ from those of phase 3; a `Gone` where they are not known."""

    @cached_property  # asked for thousands of times where many runs are compared
    def made(self) -> RunConfig:
        """The configuration of one whole run that makes these weights."""
        return made_by(self.config, self.stage)

    @property
    def league(self) -> str:
        """The group it is ranked in: the same pattern, one-shot or distilled."""
        return pattern_of(self.made) + (", distilled" if self.stage == "distilled" else "")

    @property
    def kind(self) -> str:
        """The method that made it, or the base pruner that is alone: what has a colour of its own."""
        return self.made.pruner if self.made.method == BASE else self.made.method

    @property
    def perplexity(self) -> float:
        return self.measured.value

    @cached_property
    def configuration(self) -> str:
        """Equal for runs that differ in nothing but the seed and what changes no outcome."""
        return configuration_of(self.made) + (repr(self.earlier_options) if self.earlier_options else "")

    @cached_property
    def _but_for_windows(self) -> str:
        return configuration_of(self.made, NAMES_OF_WINDOWS)

    def repeats(self, other: Outcome) -> bool:
        """Whether both are of one configuration, by their options or by the windows that they calibrated on."""
        windows = [(each.made.seed, each.calibration_sha256, each.earlier_options) for each in (self, other)]
        if windows[0] != windows[1]:
            return self.configuration == other.configuration
        return self._but_for_windows == other._but_for_windows

    def may_repeat(self, other: Outcome) -> bool:
        """Whether it is not known that the configurations differ, nor that they are the same."""
        if self.earlier_options == other.earlier_options:
            return False
        gone = any(isinstance(option, Gone) for option in (*self.earlier_options, *other.earlier_options))
        return gone and configuration_of(self.made) == configuration_of(other.made)


def configuration_of(config: RunConfig, without: Sequence[str] = ()) -> str:
    """Return all of a configuration that makes its outcome, except the seed; one form for all ways to write it.

    Args:
        without: further options that do not count.
    """
    values = config.to_dict() | {
        "pattern": str(config.parsed_pattern()),
        "options": vars(config.made_method()),
        "calibration": same_text(config.texts[0]),
        "exclude": sorted(set(config.exclude.split())),
        **dict.fromkeys(RECONSTRUCTED),
        "reconstruct": (config.reconstruction, config.distillation),
    }
    return repr(sorted((name, value) for name, value in values.items() if name not in (*INCIDENTAL, *without)))


def outcome_of(run: Run, stage: Stage | None = None) -> Outcome | None:
    """Return what a finished run measured at a stage, by default its last; None if it did not measure that.

    Raises:
        SDSError: the run's configuration or result is broken.
    """
    config, result = run.config, run.result()
    stage = stage or last_stage(config)
    if result is None or stage not in result.perplexity:
        return None
    return Outcome(
        run=run.id,
        config=config,
        stage=stage,
        sparsity=result.sparsity,
        model_sparsity=result.model_sparsity,
        measured=result.perplexity[stage].perplexity,
        dense=result.dense_perplexity.perplexity,
        evaluation_sha256=result.evaluation.sha256,
        calibration_sha256=result.calibration.sha256,
        total=result.total,
        earlier_options=_earlier_options(config),
    )


def finished_outcomes() -> list[Outcome]:
    """Return what all finished runs of the folder measured, the oldest first."""
    return outcomes_of(reversed(list(every_run())))


def outcomes_of(runs: Iterable[Run]) -> list[Outcome]:
    """Return what those of some runs measured that are finished.

    A run that measured others on the way to its last weights counts for these, too: sparse ones are its base pruner's,
    and what was distilled had been one-shot.
    Re-dense models and broken runs are left out.
    """
    found = []
    for run in runs:
        try:
            last = outcome_of(run)
            if last is None or last.stage == "redense":
                continue
            earlier = [outcome_of(run, stage) for stage in BEFORE.get(last.stage, ())]
        except SDSError:
            continue
        found += [outcome for outcome in (*earlier, last) if outcome]
    return found


def mismatch(one: Outcome, other: Outcome) -> Mismatch | None:
    """Return what keeps two outcomes from being paired window by window; None if nothing does."""
    lengths = [(len(each.dense.losses), each.dense.tokens) for each in (one, other)]
    if one.evaluation_sha256 != other.evaluation_sha256 or lengths[0] != lengths[1]:
        return Mismatch.TEXT
    losses = zip(one.dense.losses, other.dense.losses, strict=True)
    if one.total != other.total or any(abs(mine - its) > SAME_DENSE for mine, its in losses):
        return Mismatch.MODEL
    return None


def _earlier_options(config: RunConfig) -> tuple[Any, ...]:
    """Return the options of the run that phase 3 or 4 continued from, where they differ from its own."""
    if config.phase not in (3, 4) or config.parent is None:
        return ()
    run = preceding(config)
    if run is None:
        return (Gone(config.parent.run),)
    before = run.config
    if config.phase == 4:
        same = before.reconstruction == config.reconstruction
        return (*(() if same else (before.reconstruction,)), *_earlier_options(before))
    same = before.made_method() == config.made_method()
    return () if same else tuple(sorted(vars(before.made_method()).items()))
