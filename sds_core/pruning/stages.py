"""The phases of the method, and the stages of a layer's weight."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

if TYPE_CHECKING:  # records name stages without torch
    import torch
    from torch import Tensor

    from sds_core.pruning.layer_problem import Pruned

Pass = Literal["fused", "sparse", "redense", "final"]
"""A pass over the blocks: all phases at once, or the paper's phase 1, 2 or 3."""
Phase = Literal[Pass, "distilled"]
"""A pass, or what may come after the last: distillation of the model as a whole."""
LayerStage = Literal["dense", "sparse", "redense", "final"]
"""The state of a layer's weight: untouched, after phase 1, after phase 2, after phase 3."""
Stage = Literal[LayerStage, "distilled"]
"""The state of a model: that of its layers, or distilled afterwards, and so no longer one-shot."""
RecordedStage = Literal[LayerStage, "pruned"]
"""What the record of a layer holds: its stages, and a round's free weight pruned."""
Scarcity = Literal["", "few tokens", "no tokens"]
"""Whether fewer calibration tokens than a layer has inputs were routed to it, or none; for experts only."""

STAGE_NAMES = {"dense": "dense", "sparse": "sparse", "redense": "re-dense", "final": "final", "distilled": "distilled"}
"""Names of the stages for people, in order."""


LAYER_STAGES: tuple[LayerStage, ...] = get_args(LayerStage)
"""Those of single layers, in order."""


class StageWeight(NamedTuple):
    """A layer's weight at one stage."""

    stage: LayerStage
    weight: Tensor
    """(R, C)."""
    mask: Tensor | None
    """bool (R, C), True where kept; None where nothing is pruned."""


@dataclass(frozen=True, eq=False)
class Stages:
    """A layer's weights after each phase; None for a phase that has not run.

    Iterates over the stages present, oldest first.
    """

    sparse: Pruned | None = None
    redense: Tensor | None = None
    final: Pruned | None = None

    def __iter__(self) -> Iterator[StageWeight]:
        if self.sparse is not None:
            yield StageWeight("sparse", self.sparse.weight, self.sparse.mask)
        if self.redense is not None:
            yield StageWeight("redense", self.redense, None)
        if self.final is not None:
            yield StageWeight("final", self.final.weight, self.final.mask)

    def to(self, device: torch.device) -> Stages:
        """Return the same on another device."""
        return Stages(
            None if self.sparse is None else self.sparse.to(device),
            None if self.redense is None else self.redense.to(device),
            None if self.final is None else self.final.to(device),
        )

    @property
    def newest(self) -> StageWeight:
        """The last stage present."""
        *_, last = self
        return last
