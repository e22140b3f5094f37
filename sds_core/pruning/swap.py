"""Mask refinement by swaps (SparseSwaps, Zimmer et al., arXiv 2512.10922): which weights are kept, not what they are.

A weight that is pruned and one that is kept change places where that lowers the output error; kept weights stay those
of the dense layer. It tells apart what a better mask gains and what better weights gain.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from sds_core.pruning.layer_problem import LayerProblem, Pruned
from sds_core.pruning.pattern import NM, Pattern

CANDIDATES = 16
"""In an unstructured pattern, this many kept and as many pruned weights of a row are tried with each other."""


class Swap(NamedTuple):
    """The best swap found in every row; all (R, 1)."""

    change: Tensor
    """Of f, were it made."""
    out: Tensor
    """Index of the weight that would be pruned."""
    back: Tensor
    """Index of the weight that would return."""


def refine_mask(problem: LayerProblem, mask: Tensor, pattern: Pattern, *, swaps: int) -> Pruned:
    """Swap in every row, up to `swaps` times, the pair whose swap lowers f the most, until no swap helps.

    With δ = W − W∘mask, f is δ H δᵀ + 2 δ·shift up to a constant, row by row, and pruning or returning weight j adds
    t_j = ±W_j to δ_j. A swap of p and u therefore changes f by

        t_p² H_pp + 2 t_p c_p + t_u² H_uu + 2 t_u c_u + 2 t_p t_u H_pu,    c = δ H + shift

    For N:M all pairs of all groups of a row are compared. An unstructured row has too many pairs: the `CANDIDATES`
    best of either side by their own part are compared with each other, so that f falls with every swap, if not always
    by the most.

    Args:
        problem: the layer, weight (R, C).
        mask: bool (R, C), what is kept to begin with.
        pattern: what it obeys; an unstructured one keeps its count in every row.
        swaps: most swaps in a row.
    """
    gram, weight = problem.gram, problem.scaled_weight
    mask = mask.clone()
    slope = (weight * ~mask) @ gram.scaled
    if problem.shift is not None:
        slope += problem.shift / gram.scale
    least = -16 * torch.finfo(weight.dtype).eps * weight.square().sum(dim=1, keepdim=True)  # below is rounding
    for _ in range(swaps):
        move = torch.where(mask, weight, -weight)
        alone = move * (move * gram.scaled.diagonal() + 2 * slope)
        best = _in_groups(pattern, mask, move, alone, gram.scaled) if isinstance(pattern, NM) else None
        best = best or _in_rows(mask, move, alone, gram.scaled)
        rows = (best.change < least).flatten().nonzero().flatten()
        if not len(rows):
            break
        for column in (best.out[rows, 0], best.back[rows, 0]):
            slope[rows] += move[rows, column][:, None] * gram.scaled[column]
            mask[rows, column] = ~mask[rows, column]
    return Pruned(problem.weight * mask, mask)


def _in_groups(pattern: NM, mask: Tensor, move: Tensor, alone: Tensor, gram: Tensor) -> Swap:
    """The best pair of one group in every row."""
    rows, size = len(mask), pattern.group
    grouped = (rows, -1, size)
    blocks = torch.stack([gram[a : a + size, a : a + size] for a in range(0, gram.shape[1], size)])  # (C/M, M, M)
    kept, move, alone = mask.view(grouped), move.view(grouped), alone.view(grouped)
    out, back = torch.where(kept, alone, torch.inf), torch.where(kept, torch.inf, alone)
    change = out[..., :, None] + back[..., None, :] + 2 * move[..., :, None] * move[..., None, :] * blocks
    lowest, where = change.view(rows, -1).min(dim=1, keepdim=True)
    group, pair = where // size**2, where % size**2
    return Swap(lowest, group * size + pair // size, group * size + pair % size)


def _in_rows(mask: Tensor, move: Tensor, alone: Tensor, gram: Tensor) -> Swap:
    """The best pair among the candidates of every row."""
    count = min(CANDIDATES, mask.shape[1])
    out_change, out = torch.where(mask, alone, torch.inf).topk(count, dim=1, largest=False)
    back_change, back = torch.where(mask, torch.inf, alone).topk(count, dim=1, largest=False)
    moves = 2 * move.gather(1, out)[:, :, None] * move.gather(1, back)[:, None, :]
    change = out_change[:, :, None] + back_change[:, None, :] + moves * gram[out[:, :, None], back[:, None, :]]
    lowest, where = change.view(len(mask), -1).min(dim=1, keepdim=True)
    return Swap(lowest, out.gather(1, where // count), back.gather(1, where % count))
