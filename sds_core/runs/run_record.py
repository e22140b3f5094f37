"""One run's numbers as its record gives them, finished or live: events as they come, distributions on demand."""

import math
from pathlib import Path

from sds_core.errors import SDSError
from sds_core.pruning.stages import Stage
from sds_core.runs.config import RunConfig
from sds_core.runs.events import BlockFinished, ModelLoaded, PerplexityMeasured, PhaseStarted, first, of_kind
from sds_core.runs.job_folder import State
from sds_core.runs.layer_numbers import Key, LayerNumbers, block_files, read_block
from sds_core.runs.progress import Progress, progress
from sds_core.runs.recorded_values import MeasuredPerplexity
from sds_core.runs.run_folder import Run


class RunRecord:
    """One run: `refresh` reads what its log has gained; a block's distributions are read when they are asked for."""

    def __init__(self, run: Run, config: RunConfig):
        self.run, self.config = run, config
        self.state: State = "new"
        self.fault = ""
        """Why a block cannot be read; empty while none was found broken."""
        self._log = run.log
        self._files: dict[int, list[Path]] = {}
        self._blocks: dict[int, dict[Key, LayerNumbers]] = {}
        self._losses: dict[tuple[int, str, str], float] = {}
        self._done: dict[Stage, dict[int, None]] = {}
        self._linears: dict[str, None] = {}
        self._read = 0
        self.refresh()

    def refresh(self) -> None:
        """Read what was added since.

        Raises:
            SDSError: the log is broken.
        """
        self.state = self.run.state(self._log)  # before the events, which then hold all of a run that has ended
        self.events = self._log.read()
        new = of_kind(self.events[self._read :], BlockFinished)
        self._read = len(self.events)
        if not new:
            return
        self._files = block_files(self.run.folder)
        for event in new:
            self._blocks.pop(event.block, None)
            self._done.setdefault(event.stage, {})[event.block] = None
            for layer in event.layers:
                self._linears.setdefault(layer.linear)
                for stage, loss in layer.loss.items():
                    self._losses[event.block, layer.linear, stage] = loss

    @property
    def model(self) -> ModelLoaded | None:
        """The loaded model's identity, once there is one."""
        return first(self.events, ModelLoaded)

    @property
    def making(self) -> Stage:
        """The stage of the weights that the pass under way leaves, or the first of them before it begins."""
        begun = of_kind(self.events, PhaseStarted)
        return begun[-1].stage if begun else self.config.written_by(self.config.phases[0])

    def done(self, stage: Stage) -> int:
        """Return how many blocks have finished a stage."""
        return len(self._finished(stage))

    def _finished(self, stage: Stage) -> dict[int, None]:
        fused = "fused" in self.config.phases and stage != "distilled"
        kept = self.config.one_shot if fused else stage
        return self._done.get(kept, {})

    def perplexity(self, stage: Stage) -> MeasuredPerplexity | None:
        """Return a stage's measured perplexity."""
        found = [event.perplexity for event in of_kind(self.events, PerplexityMeasured) if event.stage == stage]
        return found[-1] if found else None

    def layer(self, block: int, linear: str, stage: str, number: int = 0) -> LayerNumbers | None:
        """Return a layer at a stage or round; None where it is not recorded, or its file is broken."""
        return self._block(block).get((linear, stage, number))

    def _block(self, block: int) -> dict[Key, LayerNumbers]:
        if block not in self._blocks:
            found: dict[Key, LayerNumbers] = {}
            for path in self._files.get(block, []):
                try:
                    found |= read_block(path)
                except SDSError as error:
                    self.fault = str(error)
            self._blocks[block] = found
        return self._blocks[block]

    def value(self, block: int, linear: str, stage: str, measure: str, number: int = 0) -> float | None:
        """Return a measure of a layer at a stage or round; errors of stages stand in the log, the rest in the files."""
        if measure == "loss" and not number:
            loss = self._losses.get((block, linear, stage), math.nan)
            return None if math.isnan(loss) else loss
        layer = self.layer(block, linear, stage, number)
        return getattr(layer, measure) if layer else None

    def has(self, stage: Stage, measure: str) -> bool:
        """Whether a measure is recorded at a stage, judged by its first finished block."""
        block = next(iter(self._finished(stage)), None)
        if block is None:
            return False
        return any(self.value(block, linear, stage, measure) is not None for linear in self._linears)

    def linears(self) -> list[str]:
        """Return the names of linears inside blocks, in the order of solving."""
        return list(self._linears)

    def rounds(self, block: int, linear: str) -> list[int]:
        """Return the recorded rounds of a layer."""
        return sorted(n for name, stage, n in self._block(block) if n and name == linear and stage == "redense")

    def progress(self) -> Progress:
        """Return how far the run has come."""
        return progress(self.events, self.config.phases)
