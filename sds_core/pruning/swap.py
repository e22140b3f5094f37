"""Mask refinement by swaps (SparseSwaps, Zimmer et al., arXiv 2512.10922): a better mask, the dense layer's weights.

A pruned and a kept weight change places where that lowers the output error. Kept weights stay those of the dense layer,
which separates the gain of a better mask from that of better weights.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from sds_core.pruning.layer_problem import LayerProblem, Pruned
from sds_core.pruning.linalg import looks
from sds_core.pruning.pattern import NM, Pattern

CANDIDATES = 16
"""In an unstructured pattern, this many kept weights of a row are paired with as many pruned ones."""


class Swap(NamedTuple):
    """The best swap of every row; all tensors (R, 1)."""

    change: Tensor
    """The change of f."""
    out: Tensor
    """Index of the kept weight to prune."""
    back: Tensor
    """Index of the pruned weight to bring back."""


def refine_mask(problem: LayerProblem, mask: Tensor, pattern: Pattern, *, swaps: int) -> Pruned:
    """Repeat in every row the swap that lowers f most, until none does, at most `swaps` times.

    With δ = W − W∘mask, f is δ H δᵀ + 2 δ·shift up to a constant, row by row, and pruning or bringing back weight j
    adds t_j = ±W_j to δ_j. A swap of p and u therefore changes f by

        t_p² H_pp + 2 t_p c_p + t_u² H_uu + 2 t_u c_u + 2 t_p t_u H_pu,    c = δ H + shift

    For N:M, all pairs within the groups of a row are compared. An unstructured row has too many pairs: only the
    `CANDIDATES` best weights of either side, each judged alone, are paired, so f falls with every swap, if not always
    by the most.

    Args:
        problem: the layer, weight (R, C).
        mask: bool (R, C), the initial mask.
        pattern: its pattern; an unstructured mask keeps its count in every row.
        swaps: maximum number of swaps per row.
    """
    gram, weight = problem.gram, problem.scaled_weight
    mask = mask.clone()
    slope = (weight * ~mask) @ gram.scaled
    if problem.shift is not None:
        slope += problem.shift / gram.scale
    least = -16 * torch.finfo(weight.dtype).eps * weight.square().sum(dim=1, keepdim=True)  # smaller gains are rounding
    every = torch.arange(len(weight), device=weight.device)
    for number in range(swaps):
        move = torch.where(mask, weight, -weight)
        alone = move * (move * gram.scaled.diagonal() + 2 * slope)
        best = _in_groups(pattern, mask, move, alone, gram.scaled) if isinstance(pattern, NM) else None
        best = best or _in_rows(mask, move, alone, gram.scaled)
        gains = best.change < least
        if looks(number, weight) and not gains.any():
            break
        rows = gains.flatten().nonzero().flatten() if weight.is_cpu else every  # which ones, a device is not asked
        for column in (best.out[rows, 0], best.back[rows, 0]):
            slope[rows] += (move[rows, column][:, None] * gains[rows]) * gram.scaled[column]
            mask[rows, column] ^= gains[rows, 0]
    return Pruned(problem.weight * mask, mask)


def _in_groups(pattern: NM, mask: Tensor, move: Tensor, alone: Tensor, gram: Tensor) -> Swap:
    """Return the best swap within one group, for every row."""
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
    """Return the best swap among the candidates of every row."""
    count = min(CANDIDATES, mask.shape[1])
    out_change, out = torch.where(mask, alone, torch.inf).topk(count, dim=1, largest=False)
    back_change, back = torch.where(mask, torch.inf, alone).topk(count, dim=1, largest=False)
    moves = 2 * move.gather(1, out)[:, :, None] * move.gather(1, back)[:, None, :]
    change = out_change[:, :, None] + back_change[:, None, :] + moves * gram[out[:, :, None], back[:, None, :]]
    lowest, where = change.view(len(mask), -1).min(dim=1, keepdim=True)
    return Swap(lowest, out.gather(1, where // count), back.gather(1, where % count))
