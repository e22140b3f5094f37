"""Share a ratio of pruned weights among a model's blocks by OWL, observing the dense model once."""

from collections.abc import Generator
from fractions import Fraction

import torch
from torch import Tensor

from sds_core.models.observation import observe
from sds_core.models.stream import batches, capture
from sds_core.models.structure import ModelStructure
from sds_core.pruning.owl import outlier_share, owl_ratios


def owl(
    structure: ModelStructure, windows: Tensor, ratio: Fraction, device: torch.device
) -> Generator[int, None, list[Fraction]]:
    """Return OWL's ratio for every block; yield each block's index when it has been observed.

    Blocks without prunable linears do not count.

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
            scores = [linear.read().to(device).abs() * seen[linear.input].gram.norms for linear in block.linears]
        stream.move_on(outputs)
        if scores:
            shares.append(outlier_share(scores))
            counts.append(sum(score.numel() for score in scores))
        yield block.index
    ratios = iter(owl_ratios(shares, counts, ratio))
    return [next(ratios) if block.linears else ratio for block in structure.blocks]
