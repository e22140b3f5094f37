"""A model just wide enough that weights outweigh their record, pruned on the CPU and on the stand-in."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from sds_core.block_pass import BlockDone
from sds_core.layer_result import LayerResult
from sds_core.models.structure import find_blocks
from sds_core.pruning.methods import make_method
from sds_core.pruning.pattern import parse_pattern
from sds_core.pruning.reconstruction import Reconstruction
from sds_core.pruning.registry import PRUNERS
from sds_core.runs import checkpoint, layer_stats
from sds_core.runs.layer_row import LayerRow
from sds_core.sds import Recipe, run_phase
from tests.models.families import VOCABULARY, randomised, texts
from tests.passes import Results

HELD_OUT = 1
WINDOWS = texts(9, 48, seed=3)
SIZES = {"hidden_size": 160, "intermediate_size": 256, "num_attention_heads": 4, "num_key_value_heads": 2}


def wide_model() -> LlamaForCausalLM:
    """A random llama of two blocks."""
    config = LlamaConfig(vocab_size=VOCABULARY, num_hidden_layers=2, max_position_embeddings=64, **SIZES)
    return randomised(LlamaForCausalLM(config))


@dataclass(frozen=True)
class Done:
    """A pass as a run does it, record included."""

    weights: dict[str, Tensor]
    rows: list[LayerRow]
    layers: int
    nbytes: int
    """Of the weights that were pruned."""


def prune(device: torch.device, method: str, pruner: str, pattern: str, options: dict[str, Any]) -> Done:
    """Prune the model in one pass, record every layer, and pack every block.

    Options are those of the method, and `window` for a reconstruction.
    """
    window = options.get("window")
    chosen = {name: value for name, value in options.items() if name != "window"}
    structure = find_blocks(wide_model())
    recipe = Recipe(
        pruner=PRUNERS[pruner](),
        method=make_method(method, chosen),
        pattern=parse_pattern(pattern),
        reconstruction=Reconstruction(window, epochs=1) if window else None,
    )
    rows, masks, packed = list[LayerRow](), dict[str, Tensor](), dict[str, Tensor]()
    for event in run_phase("fused", structure, WINDOWS, recipe, device, Results(), HELD_OUT):
        if isinstance(event, LayerResult):
            rows += layer_stats.rows(event)
            newest = event.stages.newest
            if newest.mask is not None:
                masks[event.linear.label] = checkpoint.packed_mask(newest.mask)
        if isinstance(event, BlockDone):
            of_block = checkpoint.packed(structure.blocks[event.block], masks)
            packed |= {f"{event.block}.{name}": tensor for name, tensor in of_block.items()}
    weights = {name: tensor for name, tensor in packed.items() if name.endswith("weight")}
    return Done(weights, rows, len(weights), sum(weight.nbytes for weight in weights.values()))


@cache
def on_cpu(method: str, pruner: str, pattern: str, options: tuple[tuple[str, Any], ...]) -> Done:
    """The same on the CPU, once for all tests."""
    return prune(torch.device("cpu"), method, pruner, pattern, dict(options))
