"""What a layer's weights look like, as numbers: histograms on fixed edges, statistics, overlap of masks. No plots."""

from dataclasses import dataclass

from torch import Tensor

BINS = 201
SPAN = 6.0
"""Histograms run over ± this many standard deviations of the *dense* weight, so that all stages share their edges."""
NEAR_ZERO = 0.1
"""A weight is near zero below this many dense standard deviations."""


@dataclass(frozen=True)
class Histogram:
    """Counts of a weight's entries, in units of the dense weight's standard deviation."""

    counts: list[int]
    """`BINS` counts over equal bins from −SPAN to +SPAN; exact zeros are not in here."""
    below: int
    """Entries under −SPAN."""
    above: int
    """Entries over +SPAN."""
    zeros: int
    """Entries that are exactly zero."""


def histogram(weight: Tensor, dense_std: float) -> Histogram:
    """Histogram of a weight (any shape) in units of the dense layer's standard deviation."""
    values = weight.flatten().float() / (dense_std or 1.0)
    zeros = int((values == 0).sum())
    values = values[values != 0]
    below, above = int((values < -SPAN).sum()), int((values > SPAN).sum())
    inside = values[(values >= -SPAN) & (values <= SPAN)]
    bins = ((inside + SPAN) * (BINS / (2 * SPAN))).long().clamp_max(BINS - 1)
    return Histogram(bins.bincount(minlength=BINS).tolist(), below, above, zeros)


@dataclass(frozen=True)
class Statistics:
    """One weight in numbers; shares are of all entries."""

    std: float
    """Standard deviation of all entries."""
    kurtosis: float
    """Excess kurtosis of the non-zero entries: 0 for a Gaussian, negative for two peaks, −2 for two spikes."""
    near_zero: float
    """Share of entries below 0.1 dense standard deviations, zeros included."""
    sparsity: float
    """Share of pruned entries, counted on the mask where there is one, else on exact zeros."""


def statistics(weight: Tensor, dense_std: float, mask: Tensor | None = None) -> Statistics:
    """Statistics of a weight (R, C), with its mask (R, C) where it has one."""
    values = weight.flatten().double()
    living = values[values != 0]
    centred = living - living.mean() if len(living) else living
    variance = float(centred.square().mean()) if len(living) else 0.0
    kurtosis = float(centred.pow(4).mean()) / variance**2 - 3 if variance > 0 else 0.0
    pruned = (~mask).sum() if mask is not None else (values == 0).sum()
    return Statistics(
        std=float(values.std(correction=0)),
        kurtosis=kurtosis,
        near_zero=float((values.abs() < NEAR_ZERO * dense_std).double().mean()),
        sparsity=int(pruned) / values.numel(),
    )


def mask_change(first: Tensor, last: Tensor) -> float:
    """Share of the weights kept by the first mask that the last one does not keep."""
    return 1 - int((first & last).sum()) / max(int(first.sum()), 1)
