"""A finished run in numbers: the content of its `result.json`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean

from sds_core.models.block_change import BlockChange
from sds_core.pruning.stages import Phase, Scarcity, Stage
from sds_core.runs import typed_json
from sds_core.runs.recorded_values import Count, Loss, MeasuredPerplexity, Seconds, Software, TextWindows


@dataclass(frozen=True, kw_only=True)
class ReconstructionSummary:
    """The effect of adjusting blocks as a whole: errors are means over all, one that did not gain stays as it was."""

    improved: Count
    """Blocks whose error fell."""
    of: Count
    before: float
    after: float

    @classmethod
    def of_blocks(cls, changes: Sequence[BlockChange]) -> "ReconstructionSummary | None":
        """Return the summary over blocks; None where none was adjusted."""
        if not changes:
            return None
        return cls(
            improved=sum(change.kept for change in changes),
            of=len(changes),
            before=fmean(change.before for change in changes),
            after=fmean(change.after if change.kept else change.before for change in changes),
        )


@dataclass(frozen=True, kw_only=True)
class DistillationSummary:
    """The effect of distilling a model as a whole: KL divergence from the dense model on held-out windows."""

    steps: Count
    windows: Count
    precision: str
    """Of products inside the model."""
    before: Loss
    after: Loss
    """Of the weights that were kept."""
    kept: Count
    """The step whose weights were kept; 0 for those that the method had left."""

    @property
    def sentence(self) -> str:
        """The adjustment and its gain, in words."""
        judged = f"on held-out windows the divergence went from {self.before:.4f} to {self.after:.4f} nats per token"
        kept = "" if self.kept == self.steps else f", best after step {self.kept} of {self.steps}, which was kept"
        return (
            f"Then distilled as a whole, so no longer one-shot: in {self.steps} steps on {self.windows} windows "
            f"towards the dense model's next-token distributions; {judged}{kept}."
        )


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """The result of a run."""

    perplexity: dict[Stage, MeasuredPerplexity]
    """By stage, in order; the dense model and `last` are always among them."""
    last: Stage
    """The stage of the weights that the run ends with."""
    pruned: Count
    """Weights that the last masks prune."""
    prunable: Count
    """Weights in layers that can be pruned."""
    total: Count
    """Weights of the whole model."""
    zeros: Count
    """Weights of the whole model that are exactly zero: pruned ones, and those that were zero before or elsewhere."""
    excluded: dict[str, str]
    """Linear layers inside blocks that are not pruned, by full name, and why."""
    other_differing_tensors: tuple[str, ...] = ()
    """Tensors of an external checkpoint, outside the layers that can be pruned, that are not the dense model's."""
    scarce: dict[Scarcity, Count] = field(default_factory=dict)
    """Expert layers that few or no calibration tokens were routed to."""
    chosen: dict[str, Count]
    """Layers by the candidate that the early exit kept."""
    reconstruction: ReconstructionSummary | None = None
    distillation: DistillationSummary | None = None
    seconds: dict[Phase, Seconds]
    """Wall time of all blocks, by phase."""
    cpu_seconds: dict[Phase, Seconds]
    measuring_seconds: Seconds
    """Wall time of measuring perplexity, without the dense model's."""
    peak_memory: Count
    """Highest resident memory of the process, bytes."""
    weight_bytes: Count
    """Size of one stage's checkpoints."""
    command: str
    """The command line that repeats the run."""
    calibration: TextWindows
    evaluation: TextWindows
    software: Software

    @property
    def sparsity(self) -> float:
        """Share of pruned weights among the prunable ones."""
        return self.pruned / self.prunable

    @property
    def model_sparsity(self) -> float:
        """Share of pruned weights among all."""
        return self.pruned / self.total

    @property
    def zero_share(self) -> float:
        """Share of weights that are exactly zero among all."""
        return self.zeros / self.total

    @property
    def scarce_tokens(self) -> str:
        """Sentences on the experts that few or no calibration tokens were routed to; empty if there are none."""
        few, none = self.scarce.get("few tokens", 0), self.scarce.get("no tokens", 0)
        found = []
        if few:
            found.append(
                f"{_experts(few)} got fewer calibration tokens than inputs: correlations between inputs count for "
                "less there."
            )
        if none:
            found.append(f"{_experts(none)} got no calibration tokens: only the size of their weights counted.")
        return " ".join([*found, "More samples reach more experts."] if found else [])

    @property
    def experts(self) -> str:
        """Sentences on a mixture: what its experts got, and how far its routers decide otherwise; else empty."""
        routes = self.last_perplexity.routes
        return " ".join(filter(None, [self.scarce_tokens, routes.sentence if routes else ""]))

    @property
    def dense_perplexity(self) -> MeasuredPerplexity:
        """Perplexity of the dense model."""
        return self.perplexity["dense"]

    @property
    def last_perplexity(self) -> MeasuredPerplexity:
        """Perplexity of the weights that the run ends with."""
        return self.perplexity[self.last]

    @classmethod
    def parse(cls, text: str) -> "RunResult":
        """Return the result that a file holds.

        Raises:
            ValueError: a field is missing, unknown or of another type; it is named.
        """
        result = typed_json.parse(cls, text)
        for stage in ("dense", result.last):
            if stage not in result.perplexity:
                raise ValueError(f"perplexity.{stage} is missing")
        if not 0 < result.prunable <= result.total:
            raise ValueError("prunable is not between 1 and total")
        if not 0 <= result.zeros <= result.total:
            raise ValueError("zeros is not between 0 and total")
        if result.pruned > result.prunable:
            raise ValueError("pruned is more than prunable")
        if len({(len(measured.losses), measured.tokens) for measured in result.perplexity.values()}) > 1:
            raise ValueError("perplexities are of different windows")
        if len(result.dense_perplexity.losses) < 2:
            raise ValueError("perplexities are of fewer than two windows, so they have no errors")
        return result


def _experts(count: int) -> str:
    return f"{count} expert {'layer' if count == 1 else 'layers'}"
