"""The numbers of an experiment by variant and stage, finished or live: progress, perplexities, layers, rounds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sds_core.errors import SDSError
from sds_core.pruning.perplexity import Comparison, compare
from sds_core.pruning.stages import STAGE_NAMES, Stage
from sds_core.runs.config import PHASES, RunConfig
from sds_core.runs.events import BlockFinished, MeasuredPerplexity, ModelLoaded, PerplexityMeasured, first, of_kind
from sds_core.runs.experiment import Experiment
from sds_core.runs.job_folder import State
from sds_core.runs.layer_numbers import Key, LayerNumbers, block_files, read_block
from sds_core.runs.progress import Progress, progress
from sds_core.runs.run_folder import Run
from sds_core.runs.variant import BASE, Variant

PHASE_OF: dict[Stage, int] = {"sparse": 1, "redense": 2, "final": 3}
"""The phase that leaves each stage's weights."""
IN_ROUNDS: dict[Stage, str] = {"redense": "redense", "final": "pruned"}
"""How a round of phase 2 records its two weights: free to move, and pruned then."""


class RunRecord:
    """One run's log and distributions; `refresh` reads what was added."""

    def __init__(self, run: Run, config: RunConfig):
        self.run, self.config = run, config
        self.state: State = "new"
        self._log = run.log
        self._blocks: dict[int, dict[Key, LayerNumbers]] = {}
        self._read = -1
        self.refresh()

    def refresh(self) -> None:
        """Read what was added since.

        Raises:
            SDSError: a file is broken.
        """
        self.events = self._log.read()
        self.state = self.run.state(self.events)
        if len(of_kind(self.events, BlockFinished)) == self._read:
            return
        self._read = len(of_kind(self.events, BlockFinished))
        for block, paths in block_files(self.run.folder).items():
            self._blocks[block] = {key: one for path in paths for key, one in read_block(path).items()}

    @property
    def model(self) -> ModelLoaded | None:
        """The loaded model's identity, once there is one."""
        return first(self.events, ModelLoaded)

    def done(self, stage: Stage) -> int:
        """Return how many blocks have finished a stage."""
        kept = self.config.written_by("fused") if self.config.phases == ["fused"] else stage
        return len({event.block for event in of_kind(self.events, BlockFinished) if event.stage == kept})

    def perplexity(self, stage: Stage) -> MeasuredPerplexity | None:
        """Return a stage's measured perplexity."""
        found = [event.perplexity for event in of_kind(self.events, PerplexityMeasured) if event.stage == stage]
        return found[-1] if found else None

    def layer(self, block: int, linear: str, stage: str, number: int = 0) -> LayerNumbers | None:
        """Return a layer at a stage or round; None where it is not recorded."""
        return self._blocks.get(block, {}).get((linear, stage, number))

    def linears(self) -> list[str]:
        """Return the names of linears inside blocks, in the order of solving."""
        return list(dict.fromkeys(linear for _, known in sorted(self._blocks.items()) for linear, _, _ in known))

    def rounds(self, block: int, linear: str) -> list[int]:
        """Return the recorded rounds of a layer."""
        return sorted(
            n for name, stage, n in self._blocks.get(block, {}) if n and name == linear and stage == "redense"
        )

    def progress(self) -> Progress:
        """Return how far the run has come."""
        return progress(self.events, self.config.phases)


@dataclass(frozen=True)
class StageRecord:
    """One stage of one variant."""

    stage: Stage
    record: RunRecord | None
    """Of the run that did it; None where none has, or its record is broken."""
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
        if self.record.config.phases == ["fused"]:
            return (
                "This run was fused: each block went through all phases before the next, so no whole model was ever "
                f"{STAGE_NAMES[self.stage]}."
            )
        match self.record.state:
            case "failed":
                return f"This phase failed: {self.record.progress().message}"
            case "running" | "queued":
                return "The model’s perplexity is measured once the phase is done."
            case state:
                return f"This phase is {state}, not finished; the phase button goes on with it."


class ExperimentRecord:
    """The runs behind an experiment's variants; `refresh` reads what live ones have added."""

    def __init__(self, experiment: Experiment, variants: Sequence[Variant]):
        self.variants = list(variants)
        records: dict[Run, RunRecord] = {}
        configs = dict(experiment.members)
        self._stages: dict[tuple[int, Stage], StageRecord] = {}
        for i, variant in enumerate(self.variants):
            for phase in variant.phases:
                stage = _stage(phase)
                # A later run has taken over what the earlier phases recorded, should their own run be gone.
                runs = (experiment.run_of(variant, p) for p in range(phase, variant.phases[-1] + 1))
                run = next((run for run in runs if run), None)
                self._stages[i, stage] = _stage_record(stage, run, configs, records)
        self.records = list(records.values())

    def refresh(self) -> None:
        """Read what live runs have added.

        Raises:
            SDSError: a file is broken.
        """
        for record in self.records:
            if record.state in ("new", "queued", "running"):
                record.refresh()

    @property
    def states(self) -> list[State]:
        """The state of every run."""
        return [record.state for record in self.records]

    @property
    def working(self) -> RunRecord | None:
        """The run that is being worked on."""
        live = [record for record in self.records if record.state in ("running", "queued")]
        return min(live, key=lambda record: record.state != "running", default=None)

    @property
    def failure(self) -> str:
        """Why a run of it failed or cannot be read; empty if neither is so."""
        failed = next((record for record in self.records if record.state == "failed"), None)
        if failed:
            return failed.progress().message
        return next((found.fault for found in self._stages.values() if found.fault), "")

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
        record = found.record
        if record is None:
            return [None] * (self.blocks * len(self.linears))
        stage = IN_ROUNDS[found.stage] if number else found.stage
        layers = (record.layer(b, linear, stage, number) for b in range(self.blocks) for linear in self.linears)
        return [getattr(layer, measure) if layer else None for layer in layers]

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
        if run not in records:
            records[run] = RunRecord(run, configs[run])
        return StageRecord(stage, records[run])
    except SDSError as error:
        return StageRecord(stage, None, f"The record of run {run.id} is broken: {error}")


def _stage(phase: int) -> Stage:
    found = PHASES[phase]
    assert found != "fused"
    return found
