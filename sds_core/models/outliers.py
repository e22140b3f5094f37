"""Share a ratio of pruned weights among a model's blocks by OWL, observing the dense model once."""

import math
from collections.abc import Generator
from fractions import Fraction

import torch
from torch import Tensor

from sds_core.models.observation import observe
from sds_core.models.stream import batches, capture
from sds_core.models.structure import ModelStructure
from sds_core.pruning.owl import outlier_share, owl_ratios
from sds_core.pruning.wanda import wanda_scores


def owl(
    structure: ModelStructure, windows: Tensor, ratio: Fraction, device: torch.device
) -> Generator[int, None, list[Fraction]]:
    """Return OWL's ratio for every block; yield each block's index when it has been observed.

    Blocks without prunable linears do not count, and neither do experts that no token reached: nothing is known of
    their inputs. Other experts count alike, however few tokens they see (`outlier_share`).

    Args:
        structure: the model, its weights dense.
        windows: calibration token ids (n, T).
        ratio: share of weights to prune in all blocks together.
        device: where to compute.
    """
    stream = capture(structure, batches(windows, device), device)
    shares, counts = [], []
    for block in structure.blocks:
        with structure.store.resident(block.module):
            seen, outputs = observe(stream)
            reached = [linear for linear in block.linears if seen[linear.input].scarcity != "no tokens"]
            scores = [wanda_scores(linear.read().to(device), seen[linear.input].gram) for linear in reached]
        stream.move_on(outputs)
        if block.linears:
            shares.append(outlier_share(scores) if scores else 0.0)
            counts.append(sum(math.prod(linear.shape) for linear in block.linears))
        yield block.index
    ratios = iter(owl_ratios(shares, counts, ratio))
    return [next(ratios) if block.linears else ratio for block in structure.blocks]
