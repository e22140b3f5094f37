"""The values that events and results hold: limited numbers, software, texts, perplexities, layers of a block."""

from dataclasses import dataclass
from typing import Annotated, Literal

from sds_core.models.route_change import RouteChange
from sds_core.pruning.perplexity import Comparison, Perplexity, compare
from sds_core.pruning.stages import Scarcity, Stage
from sds_core.runs.typed_json import Matching, Within

Measurement = Literal[Stage, "outliers"]
"""The aim of a forward pass over all blocks: a stage's perplexity, or the dense model's outliers."""
LARGEST_PERPLEXITY = 1e300
"""Recorded for an infinite perplexity, since JSON has no infinity."""
LARGEST = 1e100
"""Far above any number of a model; sums and squares of such numbers are finite."""
MOST_BLOCKS = 10_000

Count = Annotated[int, Within(0, 1e18)]
Blocks = Annotated[int, Within(1, MOST_BLOCKS)]
BlockIndex = Annotated[int, Within(0, MOST_BLOCKS - 1)]
Seconds = Annotated[float, Within(0, 1e9)]
Family = Annotated[str, Matching(r"\w{1,60}", "a family's name")]
"""It becomes a part of a path."""
Loss = Annotated[float, Within(-LARGEST, LARGEST)]
"""Mean negative log likelihood in nats, or an output error."""


@dataclass(frozen=True, kw_only=True)
class Software:
    """Versions and machine that computed a run."""

    version: str
    """Of SDS Studio."""
    python: str
    torch: str
    transformers: str
    machine: str


@dataclass(frozen=True, kw_only=True)
class TextWindows:
    """A text as it was used, and the digest of the token ids taken from it."""

    text: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class MeasuredPerplexity:
    """Perplexity of one stage's weights, and its ratio to the dense model's on the same windows."""

    value: Annotated[float, Within(0, LARGEST_PERPLEXITY)]
    losses: tuple[Loss, ...]
    """Mean negative log likelihood of each window, nats per predicted token."""
    tokens: Annotated[int, Within(1, 1e12)]
    """Predicted tokens per window."""
    log_ratio: Loss
    """Log of the ratio to the dense model's perplexity; 0 for the dense model."""
    error: Annotated[float, Within(0, LARGEST)]
    """Paired standard error of `log_ratio` over windows."""
    routes: RouteChange | None = None
    """Of a mixture, how far its routers decide otherwise than in the dense model."""

    @classmethod
    def of(cls, measured: Perplexity, dense: Perplexity, routes: RouteChange | None = None) -> "MeasuredPerplexity":
        """Return what is recorded of a measurement."""
        paired = compare(measured, dense)
        return cls(
            value=min(measured.value, LARGEST_PERPLEXITY),
            losses=measured.losses,
            tokens=measured.tokens,
            log_ratio=paired.log_ratio,
            error=paired.error,
            routes=routes,
        )

    @property
    def perplexity(self) -> Perplexity:
        """The measurement, to be paired with others."""
        return Perplexity(self.losses, self.tokens)

    @property
    def against_dense(self) -> Comparison:
        """The comparison with the dense model."""
        return Comparison(self.log_ratio, self.error)


@dataclass(frozen=True, kw_only=True)
class LayerSummary:
    """One layer of a finished block."""

    linear: str
    """Name inside the block."""
    seconds: Seconds
    """Time spent on this layer alone."""
    chosen: str = ""
    """The candidate that the early exit kept; empty where there was no choice."""
    loss: dict[Stage, Loss]
    """Output error of each stage that the pass computed, relative to the dense output's energy."""
    pruned: Count = 0
    """Weights that the last mask prunes."""
    weights: Count = 0
    """Weights that the last mask covers; 0 where there is none."""
    scarcity: Scarcity = ""
