"""A layer's distribution as the lesson draws it: a density, lightly smoothed; importing this stays cheap."""

from collections.abc import Sequence

from sds_core.pruning.bins import BIN, BINS

REACH = 66
"""Bins drawn to either side of the one around zero."""
LOW, HIGH = -REACH * BIN, REACH * BIN
"""Centres of the first and the last bin drawn, in dense standard deviations."""


def curve(counts: Sequence[int], total: int) -> list[float]:
    """Return the share of all weights per dense standard deviation at equal steps from `LOW` to `HIGH`.

    Each value is a mean over three bins, the middle one counting twice: a bin alone is too noisy for a large picture.

    Args:
        counts: (`BINS`,), without exact zeros.
        total: number of weights, exact zeros included.
    """
    first = BINS // 2 - REACH
    near = [float(count) for count in counts[first - 1 : first + 2 * REACH + 2]]
    return [(a + 2 * b + c) / 4 / total / BIN for a, b, c in zip(near, near[1:], near[2:], strict=False)]
