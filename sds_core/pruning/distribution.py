"""The distribution of a layer's weights in numbers: histograms on fixed edges, statistics, overlap of masks."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sds_core.pruning.bins import BINS, CORNER, CORNER_STEP, JOINT, NEAR_ZERO, SPAN

CHUNK = 1 << 22
"""Entries counted at a time: below 2²⁴, where float32 stops counting exactly."""


@dataclass(frozen=True)
class Histogram:
    """Counts of a weight's entries, in units of the dense weight's standard deviation."""

    counts: list[int]
    """`BINS` counts over equal bins from −SPAN to +SPAN, without exact zeros."""
    below: int
    """Entries under −SPAN."""
    above: int
    """Entries over +SPAN."""
    zeros: int
    """Entries that are exactly zero."""


def histogram(weight: Tensor, dense_std: float) -> Histogram:
    """Return the histogram of a weight (any shape) in units of the dense layer's standard deviation."""
    values = weight.flatten().float() / (dense_std or 1.0)
    zeros = _count(values == 0)
    counts = sum(chunk.histc(BINS, -SPAN, SPAN).long() for chunk in values.split(CHUNK)).cpu()
    below = above = 0
    if int(counts.sum()) < values.numel():
        below, above = _count(values < -SPAN), _count(values > SPAN)
    counts[BINS // 2] -= zeros
    return Histogram(counts.tolist(), below, above, zeros)


def _count(condition: Tensor) -> int:
    """Count the true entries; on the CPU NumPy is several times faster than torch."""
    return int(np.count_nonzero(condition.cpu().numpy()))


@dataclass(frozen=True)
class Statistics:
    """Summary statistics of a weight; shares are of all entries."""

    std: float
    """Standard deviation of all entries."""
    kurtosis: float
    """Excess kurtosis of the non-zero entries: 0 for a Gaussian, negative for two peaks, −2 for two spikes."""
    near_zero: float
    """Share of entries below 0.1 dense standard deviations, zeros included."""
    sparsity: float
    """Share of pruned entries, counted on the mask where there is one, else on exact zeros."""


def statistics(weight: Tensor, dense_std: float, mask: Tensor | None = None) -> Statistics:
    """Return the statistics of a weight (R, C), with its mask (R, C) if it has one."""
    values = weight.flatten().float()
    zeros, count = _count(values == 0), values.numel()
    nonzero = max(count - zeros, 1)
    exact = values.double()
    squares = exact.square()
    sums = [float(exact.sum()), float(squares.sum()), float(squares @ exact), float(squares @ squares)]
    mean, second, third, fourth = (power / nonzero for power in sums)  # raw moments of the non-zero entries
    variance = second - mean**2
    central = fourth - 4 * mean * third + 6 * mean**2 * second - 3 * mean**4
    pruned = zeros if mask is None else _count(~mask)
    return Statistics(
        std=math.sqrt(max(sums[1] / count - (sums[0] / count) ** 2, 0.0)),
        kurtosis=central / variance**2 - 3 if variance > 1e-12 * second else 0.0,
        near_zero=_count(values.abs() < NEAR_ZERO * dense_std) / count,
        sparsity=pruned / count,
    )


def mask_change(first: Tensor, last: Tensor) -> float:
    """Return the share of the first mask's kept weights that the last mask prunes."""
    return 1 - int((first & last).sum()) / max(int(first.sum()), 1)


def joint_histogram(before: Tensor, after: Tensor, dense_std: float) -> list[int]:
    """Return the joint histogram of two weights: `JOINT`² counts, rows for `before`, columns for `after`.

    Both axes span ±SPAN dense standard deviations; values beyond fall into the outermost bins. Entries that are exactly
    zero after are left out.

    Args:
        before, after: weights of one shape.
        dense_std: standard deviation of the dense weight.
    """
    scale = JOINT / (2 * SPAN * (dense_std or 1.0))
    rows, columns = ((values.float() * scale + JOINT / 2).floor().clamp(0, JOINT - 1) for values in (before, after))
    left_out = JOINT**2  # an extra bin for the entries left out: faster than selecting the others
    bins = (rows * JOINT + columns).masked_fill(after == 0, left_out)
    return torch.bincount(bins.flatten().int(), minlength=left_out + 1)[:left_out].tolist()


def mask_crop(first: Tensor, last: Tensor) -> list[int]:
    """Return the upper left corner of two masks (R, C), at most `CORNER` entries along each side, row by row.

    0: pruned by both; 1: kept by the first only; 2: kept by the last only; 3: kept by both.
    """
    return (first[:CORNER, :CORNER].long() + 2 * last[:CORNER, :CORNER].long()).flatten().tolist()


def weight_corner(weight: Tensor, dense_std: float) -> list[int]:
    """Return the upper left corner of a weight (R, C), at most `CORNER` entries along each side, row by row.

    Values are whole multiples of `CORNER_STEP` dense standard deviations within ±127, and zero for exact zeros alone:
    an entry that would round to zero becomes ±1.
    """
    corner = weight[:CORNER, :CORNER].float()
    steps = (corner / (CORNER_STEP * (dense_std or 1.0))).round().clamp(-127, 127)
    return torch.where(steps == 0, corner.sign(), steps).int().flatten().tolist()
