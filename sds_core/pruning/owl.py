"""How sparsity is shared among blocks: OWL (Yin et al., arXiv 2310.05175) prunes blocks with many outliers less."""

from fractions import Fraction

import torch
from torch import Tensor

OUTLIER = 5.0
"""A weight is an outlier if its Wanda score is this many times its block's mean (the paper's M)."""
REACH = 0.08
"""How far a block's ratio may lie from the ratio asked for (the paper's λ)."""


def outlier_share(scores: list[Tensor]) -> float:
    """Share of a block's weights whose score |W_ij|·‖X_j‖₂ exceeds `OUTLIER` times the mean of all (the paper's Eq. 2).

    Args:
        scores: one tensor (R, C) a linear layer.
    """
    mean = float(sum(score.double().sum() for score in scores)) / sum(score.numel() for score in scores)
    outliers = sum(int((score > OUTLIER * mean).sum()) for score in scores)
    return outliers / sum(score.numel() for score in scores)


def owl_ratios(shares: list[float], weights: list[int], ratio: Fraction) -> list[Fraction]:
    """Ratio of pruned weights of every block; the mean over all weights is exactly the ratio asked for.

    Shares of outliers are stretched to [0, 2·REACH], and a block keeps as much more than the mean as its share exceeds
    the mean share. Where that would reach 0 or 1, the reach is shortened for all blocks alike.

    Args:
        shares: share of outliers of every block.
        weights: number of prunable weights of every block.
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
