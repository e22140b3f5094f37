"""The numbers of an experiment by variant and stage, finished or live: progress, perplexities, layers, rounds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sds_core.errors import SDSError
from sds_core.pruning.perplexity import Comparison, compare
from sds_core.pruning.stages import STAGE_NAMES, Stage
from sds_core.pruning.titles import BASE
from sds_core.runs.config import RunConfig
from sds_core.runs.experiment import Experiment
from sds_core.runs.job_folder import LIVE, State
from sds_core.runs.layer_numbers import LayerNumbers
from sds_core.runs.phases import PHASES
from sds_core.runs.recorded_values import MeasuredPerplexity
from sds_core.runs.run_folder import Run
from sds_core.runs.run_record import RunRecord
from sds_core.runs.variant import Variant

PHASE_OF: dict[Stage, int] = {stage: number for number, stage in PHASES.items() if stage != "fused"}
"""The phase that produces each stage's weights."""
IN_ROUNDS: dict[Stage, str] = {"redense": "redense", "final": "pruned"}
"""How a round of phase 2 records its two weights: free to move, and pruned then."""


@dataclass(frozen=True)
class StageRecord:
    """One stage of one variant."""

    stage: Stage
    record: RunRecord | None
    """The record of its run; None if there is none, or it is broken."""
    fault: str = ""
    """Why the record cannot be read."""

    @property
    def done(self) -> int:
        """Finished blocks."""
        return self.record.done(self.stage) if self.record else 0

    @property
    def perplexity(self) -> MeasuredPerplexity | None:
        """Of the whole model at this stage."""
        return self.record.perplexity(self.stage) if self.record else None

    @property
    def reason(self) -> str:
        """Why there is no perplexity."""
        if self.record is None:
            return self.fault or "This phase has not been run."
        config = self.record.config
        if "fused" in config.phases and self.stage not in (config.one_shot, "distilled"):
            return (
                "This run was fused: each block went through all phases before the next, so no whole model was ever "
                f"{STAGE_NAMES[self.stage]}."
            )
        match self.record.state:
            case "failed":
                return f"This phase failed: {self.record.progress().message}"
            case state if state in LIVE:
                return "The model’s perplexity is measured once the phase is done."
            case state:
                return f"This phase is {state}, not finished; the phase button goes on with it."


class ExperimentRecord:
    """The runs behind an experiment's variants; `refresh` reads what live ones have added."""

    def __init__(
        self, experiment: Experiment, variants: Sequence[Variant], known: Mapping[Run, RunRecord] | None = None
    ):
        """
        Args:
            experiment: its runs are read.
            variants: those of it to be shown.
            known: records that were read before, of which only what was added is read.
        """
        self.variants = list(variants)
        records = {run: record for run, record in (known or {}).items() if record.run.folder.exists()}
        configs = dict(experiment.members)
        self._stages: dict[tuple[int, Stage], StageRecord] = {}
        for i, variant in enumerate(self.variants):
            for phase in variant.phase_numbers:
                stage = _stage(phase)
                # A later run has taken over what the earlier phases recorded, should their own run be gone.
                runs = (experiment.run_of(variant, p) for p in range(phase, variant.phase_numbers[-1] + 1))
                run = next((run for run in runs if run), None)
                self._stages[i, stage] = _stage_record(stage, run, configs, records)
        self.by_run = {found.record.run: found.record for found in self._stages.values() if found.record}
        self.records = list(self.by_run.values())

    def refresh(self) -> None:
        """Read what live runs have added.

        Raises:
            SDSError: a file is broken.
        """
        for record in self.records:
            if record.state in ("new", *LIVE):
                record.refresh()

    @property
    def states(self) -> list[State]:
        """The state of every run."""
        return [record.state for record in self.records]

    @property
    def working(self) -> RunRecord | None:
        """The run that is being worked on."""
        live = [record for record in self.records if record.state in LIVE]
        return min(live, key=lambda record: record.state != "running", default=None)

    @property
    def failure(self) -> str:
        """Why a run failed or cannot be read; empty if none did."""
        failed = next((record for record in self.records if record.state == "failed"), None)
        if failed:
            return failed.progress().message
        return next((found.fault for found in self._stages.values() if found.fault), "") or self.fault

    @property
    def fault(self) -> str:
        """Why a block that was asked for cannot be read; empty if none was."""
        broken = next((record for record in self.records if record.fault), None)
        return f"The record of run {broken.run.id} is broken: {broken.fault}" if broken else ""

    @property
    def blocks(self) -> int:
        """Number of blocks; 0 while no run has loaded the model."""
        return next((record.model.blocks for record in self.records if record.model), 0)

    @property
    def linears(self) -> list[str]:
        """Names of linears inside blocks."""
        return list(dict.fromkeys(linear for record in self.records for linear in record.linears()))

    def stage(self, variant: Variant, stage: Stage) -> StageRecord:
        """Return one stage of a variant."""
        missing = StageRecord(stage, None, f"This method leaves no {STAGE_NAMES[stage]} model.")
        return self._stages.get((self.variants.index(variant), stage), missing)

    def stages(self) -> Iterator[tuple[Variant, StageRecord]]:
        """Yield every stage of every variant."""
        for (i, _), found in self._stages.items():
            yield self.variants[i], found

    def dense_perplexity(self) -> MeasuredPerplexity | None:
        """Return the dense model's perplexity, once a run has measured it."""
        return next((found for record in self.records if (found := record.perplexity("dense"))), None)

    def dense_layer(self, block: int, linear: str) -> LayerNumbers | None:
        """Return a layer of the dense model."""
        return next((found for record in self.records if (found := record.layer(block, linear, "dense"))), None)

    def values(self, found: StageRecord, measure: str, number: int = 0) -> list[float | None]:
        """Return a measure of every layer at a stage or round, block by block; None where there is none yet."""
        record, blocks, linears = found.record, self.blocks, self.linears
        if record is None:
            return [None] * (blocks * len(linears))
        stage = IN_ROUNDS[found.stage] if number else found.stage
        return [record.value(block, linear, stage, measure, number) for block in range(blocks) for linear in linears]

    def gain(self, variant: Variant) -> Comparison | None:
        """Return the variant's final model against its base pruner's, paired window by window."""
        if variant.method == BASE:
            return None
        sparse, final = (self.stage(variant, stage).perplexity for stage in ("sparse", "final"))
        return compare(final.perplexity, sparse.perplexity) if sparse and final else None


def _stage_record(
    stage: Stage, run: Run | None, configs: Mapping[Run, RunConfig], records: dict[Run, RunRecord]
) -> StageRecord:
    """Return a stage of the run that did it, whose record is read unless it is among those read before."""
    if run is None:
        return StageRecord(stage, None)
    try:
        if run in records and records[run].config == configs[run]:
            records[run].refresh()
        else:
            records[run] = RunRecord(run, configs[run])
        return StageRecord(stage, records[run])
    except SDSError as error:
        return StageRecord(stage, None, f"The record of run {run.id} is broken: {error}")


def _stage(phase: int) -> Stage:
    found = PHASES[phase]
    assert found != "fused"
    return found
