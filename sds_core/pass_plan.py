"""A plan of one pass over a model's blocks: how layers are solved, and through which weights data flows."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor

from sds_core.layer_result import LayerResult
from sds_core.models.linear import Linear
from sds_core.models.structure import Block
from sds_core.pruning.layer_problem import Pruned
from sds_core.pruning.pattern import Pattern
from sds_core.pruning.reconstruction import Reconstruction
from sds_core.pruning.stages import Stages


class PriorResults(Protocol):
    """Stored results of earlier passes, and of this one if it was interrupted."""

    @property
    def finished(self) -> int:
        """Number of blocks that this pass has done already, counted from the first."""
        ...

    def restore(self, block: Block) -> None:
        """Write this pass's result for a block into the model; the block may have been done since the pass began."""
        ...

    def sparse(self, linear: Linear) -> Pruned:
        """The result of phase 1."""
        ...

    def redense(self, linear: Linear) -> Tensor:
        """The result of phase 2 (R, C)."""
        ...


@dataclass(frozen=True, kw_only=True)
class PassPlan:
    """The treatment of each layer in a pass, and the weights through which data flows to later blocks."""

    solve: Callable[[LayerResult], LayerResult]
    """Add this pass's stages to a layer."""
    pattern: Callable[[Block], Pattern]
    prior: Callable[[Linear], Stages] | None = None
    """Stages from earlier passes, on the CPU. A block is observed with the newest; without a function, dense."""
    propagate: Literal["prior", "result"] = "result"
    """The weights with which a block feeds later ones; phase 2 observes inputs inside the sparse model."""
    bfloat16: bool = False
    """Whether the products of forward passes are in bfloat16, of a model in float32 (`models/bfloat16.py`)."""
    beta: float = 0.0
    """Share of the dense model's outputs in a layer's target."""
    sequential: bool = False
    """Whether each layer sees the outputs of the solved layers before it in its block."""
    reconstruction: Reconstruction | None = None
    """How parts of a block are adjusted once its layers are solved; None where they are not."""
    side_by_side: bool = True
    """Whether layers that do not see each other may be solved in several threads at once."""
