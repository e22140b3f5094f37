"""The distribution of a layer's weights in numbers: histograms on fixed edges, statistics, overlap of masks.

Everything is counted where the weights are. What a function returns is a `Reading`: its few numbers stay on the device
until `read`, or `read_all` together with others.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from sds_core.pruning.bins import BINS, CORNER, CORNER_STEP, JOINT, NEAR_ZERO, SPAN
from sds_core.pruning.precision import double, has_float64
from sds_core.pruning.reading import Reading

CHUNK = 1 << 22
"""Entries counted at a time: below 2²⁴, where float32 stops counting exactly."""
CACHED = 1 << 16
"""Entries counted at a time on a CPU: few enough for what is made of them to stay in its cache."""


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


def histogram(weight: Tensor, dense_std: float) -> Reading[Histogram]:
    """Read the histogram of a weight (any shape) in units of the dense layer's standard deviation."""
    counted, zeros, over = yield _counted(weight, dense_std or 1.0)
    below, *inside, above = counted.tolist()
    inside[-1] += above - int(over)  # these lie exactly on the edge
    inside[BINS // 2] -= int(zeros)
    return Histogram(inside, below, int(over), int(zeros))


def _counted(weight: Tensor, unit: float) -> list[Tensor]:
    """Return counts over the bins and one more on either side, zeros included; of zeros; of entries over SPAN."""
    counts = torch.zeros(BINS + 2, dtype=torch.int64, device=weight.device)
    zeros = torch.zeros((), dtype=torch.int64, device=weight.device)
    for (values,) in _parts(weight):
        places = (values * (BINS / (2 * SPAN * unit))).add_(BINS / 2 + 1).clamp_(max=BINS + 1)
        counts += _bins(places.clamp_(min=0), BINS + 2)
        zeros += values.numel() - _nonzero(values).long()
    over = counts[-1]
    if not weight.is_cpu or over:
        over = (weight.float() > SPAN * unit).count_nonzero()
    return [counts.int(), zeros.int(), over.int()]


def _bins(places: Tensor, count: int) -> Tensor:
    """Count places in [0, count), rounded down; `bincount` makes the host wait for a device, `histc` does not."""
    if places.is_cpu:
        return torch.bincount(places.int(), minlength=count)
    return places.floor().histc(count, -0.5, count - 0.5).long()


def _parts(*weights: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Yield the entries of weights of one shape, in float32, a chunk at a time."""
    size = CACHED if weights[0].is_cpu else CHUNK
    flat = (weight.flatten().split(size) for weight in weights)
    return (tuple(part.float() for part in parts) for parts in zip(*flat, strict=True))


def _nonzero(values: Tensor) -> Tensor:
    """Count a chunk's entries that are not zero; comparisons and counts that go by truth values are slow."""
    return torch.ne(values, 0, out=torch.empty_like(values)).sum()


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


def statistics(weight: Tensor, dense_std: float, mask: Tensor | None = None) -> Reading[Statistics]:
    """Read the statistics of a weight (R, C), with its mask (R, C) if it has one."""
    sums, *kept = yield [_sums(weight, dense_std), *(() if mask is None else (mask.count_nonzero(),))]
    *powers, near, nonzero = sums.tolist()
    count = weight.numel()
    alive = max(nonzero, 1)
    pruned = count - (int(kept[0]) if kept else nonzero)
    mean, second, third, fourth = (power / alive for power in powers)  # raw moments of the non-zero entries
    variance = second - mean**2
    central = fourth - 4 * mean * third + 6 * mean**2 * second - 3 * mean**4
    return Statistics(
        std=math.sqrt(max(powers[1] / count - (powers[0] / count) ** 2, 0.0)),
        kurtosis=central / variance**2 - 3 if variance > 1e-12 * second else 0.0,
        near_zero=near / count,
        sparsity=pruned / count,
    )


def _sums(weight: Tensor, dense_std: float) -> Tensor:
    """Return Σ w, Σ w², Σ w³, Σ w⁴, and the numbers of entries near zero and not zero (6,), in float64."""
    sums = torch.zeros(6, dtype=torch.float64, device=weight.device if has_float64(weight.device) else "cpu")
    for (values,) in _parts(weight):
        exact = double(values)
        squares = exact.square()
        near = values.abs().lt_(NEAR_ZERO * (dense_std or 1.0)).sum()
        moments = exact.sum(), squares.sum(), squares @ exact, squares @ squares
        sums += torch.stack([*moments, double(near), double(_nonzero(values))])
    return sums


def mask_change(first: Tensor, last: Tensor) -> Reading[float]:
    """Read the share of the first mask's kept weights that the last mask prunes."""
    both, before = yield [(first & last).sum(), first.sum()]
    return (int(before) - int(both)) / max(int(before), 1)


def joint_histogram(before: Tensor, after: Tensor, dense_std: float) -> Reading[list[int]]:
    """Read the joint histogram of two weights: `JOINT`² counts, rows for `before`, columns for `after`.

    Both axes span ±SPAN dense standard deviations; values beyond fall into the outermost bins. Entries that are exactly
    zero after are left out.

    Args:
        before, after: weights of one shape.
        dense_std: standard deviation of the dense weight.
    """
    (counts,) = yield [_joint_counts(before, after, dense_std)]
    return counts.tolist()


def _joint_counts(before: Tensor, after: Tensor, dense_std: float) -> Tensor:
    """Return the counts of a joint histogram (JOINT²,)."""
    scale, left_out = JOINT / (2 * SPAN * (dense_std or 1.0)), JOINT**2  # an extra bin for the entries left out
    counts = torch.zeros(left_out + 1, dtype=torch.int64, device=before.device)
    for first, last in _parts(before, after):
        row, column = ((values * scale).add_(JOINT / 2).clamp_(0, JOINT - 1).floor_() for values in (first, last))
        places = row.mul_(JOINT).add_(column).sub_(left_out)
        places.mul_(torch.ne(last, 0, out=torch.empty_like(last))).add_(left_out)  # faster than selecting
        counts += _bins(places.clamp_(min=0), left_out + 1)
    return counts[:left_out].int()


def mask_crop(first: Tensor, last: Tensor) -> Reading[list[int]]:
    """Read the upper left corner of two masks (R, C), at most `CORNER` entries along each side, row by row.

    0: pruned by both; 1: kept by the first only; 2: kept by the last only; 3: kept by both.
    """
    (codes,) = yield [first[:CORNER, :CORNER].to(torch.uint8) + 2 * last[:CORNER, :CORNER].to(torch.uint8)]
    return codes.flatten().tolist()


def weight_corner(weight: Tensor, dense_std: float) -> Reading[list[int]]:
    """Read the upper left corner of a weight (R, C), at most `CORNER` entries along each side, row by row.

    Values are whole multiples of `CORNER_STEP` dense standard deviations within ±127, and zero for exact zeros alone:
    an entry that would round to zero becomes ±1.
    """
    corner = weight[:CORNER, :CORNER].float()
    steps = (corner / (CORNER_STEP * (dense_std or 1.0))).round().clamp(-127, 127)
    (signed,) = yield [torch.where(steps == 0, corner.sign(), steps).to(torch.int8)]
    return signed.flatten().tolist()
