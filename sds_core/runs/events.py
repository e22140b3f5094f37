"""The record of a run or a text query: one dataclass for each kind of event."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Annotated, Literal, TypeVar

from sds_core.models.block_change import BlockChange
from sds_core.pruning.stages import Phase, Stage
from sds_core.runs.recorded_values import (
    BlockIndex,
    Blocks,
    Count,
    Family,
    LayerSummary,
    Loss,
    MeasuredPerplexity,
    Measurement,
    Seconds,
    Software,
    TextWindows,
)
from sds_core.runs.typed_json import Within


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened. The log stamps number and time, which do not count when events are compared."""

    number: Count = field(default=0, compare=False)
    """Place in the log, from 0."""
    elapsed: Seconds = field(default=0.0, compare=False)
    """Seconds since the process that wrote it began to work on this folder."""
    inherited_from: str | None = None
    """The run whose record it was copied from, for a branch of that run."""


@dataclass(frozen=True, kw_only=True)
class RunStarted(Event):
    """A process began to work on a run, or resumed it."""

    threads: Count
    matmul: str
    """Permitted precision of float32 matrix products."""
    software: Software


@dataclass(frozen=True, kw_only=True)
class ModelLoaded(Event):
    """The model and its texts were loaded: what exactly the run works on."""

    model: str
    """As the user wrote it."""
    folder: str
    dtype: str
    device: str
    weights: str
    """Where the blocks' weights are kept between uses: memory or disk."""
    sha256: dict[str, str]
    """Digests of the model's files, and of an external checkpoint's."""
    blocks: Blocks
    prunable: Count
    """Weights in layers that can be pruned."""
    total: Count
    """Weights of the whole model."""
    matrices: Count
    """Weights in the blocks' matrices of every kind."""
    excluded: dict[str, str]
    """Linear layers inside blocks that are not pruned, by full name, and why."""
    families: tuple[Family, ...]
    """Families of transformers whose modules the model consists of, such as llama."""
    bos: str
    """Where start tokens go in the windows of both texts; nowhere if the tokenizer adds none."""
    observation: Literal["model", "bfloat16"] = "model"
    """Precision of the products in forward passes over the calibration windows: the model's own, or bfloat16."""
    calibration: TextWindows
    evaluation: TextWindows


@dataclass(frozen=True, kw_only=True)
class SparsityAllocated(Event):
    """Every block was given its ratio of pruned weights."""

    ratios: tuple[Fraction, ...]


@dataclass(frozen=True, kw_only=True)
class Measuring(Event):
    """A forward pass over all blocks, to measure perplexity or to count outliers, has done one more."""

    what: Measurement
    block: BlockIndex
    of: Blocks


@dataclass(frozen=True, kw_only=True)
class PerplexityMeasured(Event):
    """The perplexity of a stage's weights is known."""

    stage: Stage
    perplexity: MeasuredPerplexity
    seconds: Seconds = 0.0
    """Time it took; 0 for the dense model, whose perplexity may come from the cache."""


@dataclass(frozen=True, kw_only=True)
class PhaseStarted(Event):
    """A pass over the blocks began."""

    phase: Phase
    stage: Stage
    """The stage of the weights that it leaves."""
    of: Blocks
    """Number of blocks."""


@dataclass(frozen=True, kw_only=True)
class BlockFinished(Event):
    """All layers of a block are solved, and its checkpoint is on disk."""

    phase: Phase
    stage: Stage
    block: BlockIndex
    of: Blocks
    seconds: Seconds
    cpu_seconds: Seconds
    sha256: str
    """Digest of the checkpoint; one that is not named in the record does not count."""
    layers: tuple[LayerSummary, ...]
    reconstruction: BlockChange | None = None
    """The effect of adjusting the block as a whole, if it was."""


@dataclass(frozen=True, kw_only=True)
class DistillationStarted(Event):
    """The pruned model begins to be distilled as a whole."""

    steps: Annotated[int, Within(1, 1e12)]
    """One a piece of a window and epoch."""
    epochs: Count
    windows: Count
    rate: float
    text: TextWindows
    """The windows it learns from, and those it is judged on."""
    precision: str
    """Of products inside the model: that of the model, or bfloat16 in a float32 model where the processor gains."""
    memory: Count
    """Bytes that it was expected to take besides the dense model."""


@dataclass(frozen=True, kw_only=True)
class DistillationStep(Event):
    """The pruned model has learnt from one more window, or piece of one; step 0 is before the first."""

    step: Count
    of: Count
    loss: Loss | None = None
    """KL divergence from the dense model on that piece before the step, nats per token."""
    held_out: Loss | None = None
    """The same on held-out windows after the step, where it was measured."""
    seconds: Seconds
    cpu_seconds: Seconds


@dataclass(frozen=True, kw_only=True)
class DistillationSaved(Event):
    """All that the distillation needs to resume from a step is on disk."""

    step: Count
    sha256: str


@dataclass(frozen=True, kw_only=True)
class JobQueued(Event):
    """The job waits for another one that uses the same device or process."""

    behind: str


@dataclass(frozen=True, kw_only=True)
class JobFinished(Event):
    """The result is on disk."""


@dataclass(frozen=True, kw_only=True)
class JobFailed(Event):
    """The job ended with an error."""

    message: str
    internal: bool = False
    """Whether it was a defect of the program, with its traceback beside the log."""


@dataclass(frozen=True, kw_only=True)
class JobCancelled(Event):
    """The user stopped the job."""

    message: str


@dataclass(frozen=True, kw_only=True)
class TextModelLoading(Event):
    """A text query began to load the dense model."""

    model: str


@dataclass(frozen=True, kw_only=True)
class TextReadingStarted(Event):
    """A model began to read the text of a query."""

    name: str
    """Display name of the model."""
    model: Count
    """Its place among the models, from 0."""
    of: Count


KINDS: dict[str, type[Event]] = {
    "run started": RunStarted,
    "model loaded": ModelLoaded,
    "sparsity allocated": SparsityAllocated,
    "measuring": Measuring,
    "perplexity measured": PerplexityMeasured,
    "phase started": PhaseStarted,
    "block finished": BlockFinished,
    "distillation started": DistillationStarted,
    "distillation step": DistillationStep,
    "distillation saved": DistillationSaved,
    "queued": JobQueued,
    "finished": JobFinished,
    "failed": JobFailed,
    "cancelled": JobCancelled,
    "text model loading": TextModelLoading,
    "text reading started": TextReadingStarted,
}
"""Every kind of event, by its name in the log."""

E = TypeVar("E", bound=Event)


def first(events: Iterable[Event], kind: type[E]) -> E | None:
    """Return the first event of a kind; None if there is none."""
    return next((event for event in events if isinstance(event, kind)), None)


def of_kind(events: Iterable[Event], kind: type[E]) -> list[E]:
    """Return all events of a kind, in order."""
    return [event for event in events if isinstance(event, kind)]
