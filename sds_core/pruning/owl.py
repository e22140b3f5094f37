"""Outlier-weighed layerwise sparsity (OWL, Yin et al., arXiv 2310.05175): prune blocks with many outliers less."""

from fractions import Fraction

import torch
from torch import Tensor

from sds_core.pruning.precision import double

OUTLIER = 5.0
"""A weight is an outlier if its Wanda score exceeds this many times its block's mean (the paper's M)."""
REACH = 0.08
"""Half the span of the blocks' ratios (the paper's λ); one block alone may lie nearly twice as far from the mean."""


def outlier_share(scores: list[Tensor]) -> float:
    """Return the share of a block's weights whose score |W_ij|·‖X_j‖₂ exceeds `OUTLIER` times the mean (its Eq. 2).

    ‖X_j‖₂ is a root mean square over the tokens that reach a layer (`wanda_scores`). In a dense block these are as many
    for every layer, and a common factor changes no share. Mixtures, which the paper does not have, deviate: each
    expert's is over its own tokens, however few, so that rare experts count as much as others.

    Args:
        scores: a tensor (R, C) for each linear layer.
    """
    mean = float(sum(double(score).sum() for score in scores)) / sum(score.numel() for score in scores)
    outliers = sum(int((score > OUTLIER * mean).sum()) for score in scores)
    return outliers / sum(score.numel() for score in scores)


def owl_ratios(shares: list[float], weights: list[int], ratio: Fraction) -> list[Fraction]:
    """Return the ratio of pruned weights of each block; their mean over all weights is exactly the requested ratio.

    Shares of outliers are rescaled to [0, 2·REACH], and a block's ratio lies below the mean by as much as its rescaled
    share exceeds the mean share. Where a ratio would reach 0 or 1, the reach is reduced for all blocks alike.

    Args:
        shares: share of outliers in each block.
        weights: number of prunable weights in each block.
        ratio: share of weights to prune in the whole model.
    """
    low, high = min(shares), max(shares)
    if low == high:
        return [ratio] * len(shares)
    stretched = torch.tensor([(share - low) / (high - low) for share in shares], dtype=torch.float64)
    counts = torch.tensor(weights, dtype=torch.float64)
    above = stretched - (stretched * counts).sum() / counts.sum()
    room = min(float(ratio), 1 - float(ratio)) / float(above.abs().max())
    offsets = [Fraction(str(round(float(offset), 6))) for offset in above * min(2 * REACH, 0.99 * room)]
    left = sum((o * n for o, n in zip(offsets, weights, strict=True)), Fraction(0)) / sum(weights)
    return [ratio - offset + left for offset in offsets]
