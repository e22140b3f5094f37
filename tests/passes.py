"""Passes over small models, and their results in memory."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import PreTrainedModel

from sds_core.block_pass import BlockDone
from sds_core.layer_result import LayerResult
from sds_core.models.linear import Linear
from sds_core.models.structure import Block, find_blocks
from sds_core.pruning.layer_problem import Pruned
from sds_core.pruning.methods import SDS, Method, SDSAdmm
from sds_core.pruning.pattern import parse_pattern
from sds_core.pruning.reconstruction import Reconstruction
from sds_core.pruning.registry import Wanda
from sds_core.pruning.stages import Phase, StageWeight
from sds_core.sds import Recipe, run_phase
from tests.models.families import build, texts

CPU = torch.device("cpu")
WINDOWS = texts(4, 24, seed=5)
ADMM = SDSAdmm(rounds=3, beta=0.0)
ADMM_TAUGHT = SDSAdmm(rounds=3, beta=0.3)
BLOCKWISE = SDSAdmm(rounds=3, beta=0.3, sequential=False)
SHORT_ADMM = SDSAdmm(rounds=2, beta=0.3)
BLOCK = Reconstruction("block")
SUBMODULE = Reconstruction("submodule")
PAPER_SDS = SDS(iterations=4, adjust_iterations=5)
SDS_TAUGHT = SDS(iterations=4, adjust_iterations=5, beta=0.3)
NEWEST: dict[Phase, str] = {"sparse": "sparse", "redense": "redense", "final": "final", "fused": "final"}


@dataclass
class Results:
    """Results by layer and stage, kept in memory as a run keeps them on disk."""

    stages: dict[str, dict[str, StageWeight]] = field(default_factory=dict)
    phase: Phase = "fused"
    finished: int = 0

    def note(self, solved: LayerResult) -> None:
        self.stages.setdefault(solved.linear.name, {}).update({done.stage: done for done in solved.stages})

    def restore(self, block: Block) -> None:
        assert block.index < self.finished
        for linear in block.linears:
            linear.write(self.stages[linear.name][NEWEST[self.phase]].weight)

    def sparse(self, linear: Linear) -> Pruned:
        _, weight, mask = self.stages[linear.name]["sparse"]
        return Pruned(weight, mask)

    def redense(self, linear: Linear) -> Tensor:
        return self.stages[linear.name]["redense"].weight


def make_recipe(
    method: Method, pattern: str = "2:4", pruner=Wanda, reconstruction: Reconstruction | None = None
) -> Recipe:
    return Recipe(pruner=pruner(), method=method, pattern=parse_pattern(pattern), reconstruction=reconstruction)


def run(
    phase: Phase, model: PreTrainedModel, recipe: Recipe, prior: Results | None = None
) -> Iterator[LayerResult | BlockDone]:
    return run_phase(phase, find_blocks(model), WINDOWS, recipe, CPU, prior or Results())


def finish(phase: Phase, recipe: Recipe, prior: Results, model: PreTrainedModel | None = None) -> PreTrainedModel:
    """Run a phase on a fresh dense model (or the given one) and note its results."""
    model = model or build("llama")
    prior.phase, prior.finished = phase, 0
    for event in run(phase, model, recipe, prior):
        if isinstance(event, LayerResult):
            prior.note(event)
    return model


def weights(model: PreTrainedModel) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items()}


def pruned_layers(model: PreTrainedModel) -> dict[str, Linear]:
    return {linear.name: linear for block in find_blocks(model).blocks for linear in block.linears}


def mixed_model(results: Results, stages: list[str]) -> PreTrainedModel:
    """Return a plain model whose block i has the weights of stage `stages[i]`."""
    model = build("llama")
    for block, stage in zip(find_blocks(model).blocks, stages, strict=True):
        for linear in block.linears:
            if stage != "dense":
                linear.write(results.stages[linear.name][stage].weight)
    return model
