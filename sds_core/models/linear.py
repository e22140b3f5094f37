"""A prunable linear map inside a block: the weight of a module, or one expert's slice of a parameter."""

from dataclasses import dataclass

from torch import Tensor, nn
from transformers import PreTrainedModel

SHARED = "its weight is pruned in an earlier block"
"""Why a linear is not pruned that shares its weight with one in an earlier block."""


@dataclass(frozen=True, eq=False)
class Linear:
    """A prunable linear map inside a block, read and written as (R, C) = (outputs, inputs)."""

    name: str
    """Full dotted name inside the model."""
    label: str
    """Name inside its block, such as `self_attn.q_proj` or `mlp.experts.17.down_proj`."""
    block: int
    """Index of its block."""
    module: nn.Module
    """The module that owns its parameter."""
    place: str
    """Name of its parameter inside its block, such as `self_attn.q_proj.weight` or `mlp.experts.down_proj`."""
    input: str
    """Label of the first linear in the block that receives the very same input tensor; its Gram matrix is shared."""
    group: str
    """Linears of one group are observed together: those that share an input, or the same part of all experts."""
    transposed: bool = False
    """Whether the weight is stored as (C, R)."""
    expert: int | None = None
    """Its index in a parameter that holds one matrix for each expert."""
    routed: bool = False
    """Whether it belongs to an expert, so that only some tokens reach it."""

    @property
    def owner(self) -> str:
        """Name of its module inside the block; empty for the block itself."""
        return self.place.rpartition(".")[0]

    @property
    def parameter(self) -> nn.Parameter:
        """The parameter that its weight is, or is a slice of."""
        parameter = getattr(self.module, self.place.rpartition(".")[2])
        assert isinstance(parameter, nn.Parameter)
        return parameter

    @property
    def parameter_name(self) -> str:
        """Full dotted name of its parameter inside the model."""
        return self.name.removesuffix(self.label) + self.place

    @property
    def weight(self) -> Tensor:
        """A view (R, C) of the weight, in the model's precision."""
        return self.view(self.parameter.detach())  # unlike `data`, counts as the parameter when it is written to

    @property
    def shape(self) -> tuple[int, int]:
        """(R, C)."""
        rows, columns = self.weight.shape
        return rows, columns

    @property
    def identity(self) -> tuple[int, int | None]:
        """Equal for linears that have one and the same weight."""
        return id(self.parameter), self.expert

    def read(self) -> Tensor:
        """The weight (R, C) as a float32 copy."""
        return self.weight.float().clone()

    def write(self, weight: Tensor) -> None:
        """Replace the weight by (R, C), cast once to the model's precision."""
        assert tuple(weight.shape) == self.shape
        self.weight.copy_(weight)

    def view(self, stored: Tensor) -> Tensor:
        """A view (R, C) of this linear's part of a tensor that is stored like its parameter."""
        return self.laid_out(stored if self.expert is None else stored[self.expert])

    def laid_out(self, weight: Tensor) -> Tensor:
        """A weight (R, C) as it is stored, or the inverse."""
        return weight.T if self.transposed else weight

    def module_in(self, model: PreTrainedModel) -> nn.Module:
        """Return the same module of another model of this architecture."""
        return model.get_submodule(self.parameter_name.rpartition(".")[0])
