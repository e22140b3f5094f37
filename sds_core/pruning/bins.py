"""The scale on which weights are counted, in standard deviations of the dense weight; importing this stays cheap."""

from collections.abc import Iterable

BINS = 201
SPAN = 6.0
"""Histograms span ± this many standard deviations of the *dense* weight, so that all stages share their edges."""
BIN = 2 * SPAN / BINS
"""Width of a bin, in dense standard deviations."""
JOINT = 64
"""Bins along each side of a joint histogram over the same span."""
CORNER = 64
"""Entries along each side of the recorded corner of a layer."""
CORNER_STEP = 1 / 8
"""Resolution of a corner's weights, in dense standard deviations."""
NEAR_ZERO = 0.1
"""A weight is near zero below this many dense standard deviations."""


def weights_counted(counts: Iterable[int], below: int, above: int, zeros: int) -> int:
    """Return the number of a layer's weights: those in the bins, below and above their span, and the zeros."""
    return int(sum(counts) + below + above + zeros)
