"""SparseGPT (Frantar and Alistarh, arXiv 2301.00774): prune column by column, let later columns repair the error."""

from dataclasses import dataclass

import torch
from torch import Tensor

from sds_core.errors import SDSError
from sds_core.maths.pattern import NM, Pattern
from sds_core.maths.problem import LayerProblem, Pruned


@dataclass(frozen=True, kw_only=True)
class SparseGPT:
    """Column sweep with U, the upper Cholesky factor of (H + δI)⁻¹.

    A weight scores (w_ij / U_jj)². When column j is pruned, e_i = (w_ij − pruned_ij) / U_jj is what row i lost, and
    every later column k is moved by −e_i U_jk, which is the least-squares repair (the paper's Algorithm 1).
    """

    damping: float = 0.01
    """δ as a share of the mean of diag H."""
    block: int = 128
    """Columns whose mask is chosen together in an unstructured pattern; updates beyond a block are batched."""

    def __post_init__(self) -> None:
        if not (self.damping > 0 and self.block > 0):
            raise SDSError("SparseGPT needs a positive damping and block", got=(self.damping, self.block))

    def solve(self, problem: LayerProblem, pattern: Pattern) -> Pruned:
        factor = problem.gram.inverse_factor(self.damping)
        weight = problem.weight.clone()
        weight[:, problem.gram.dead] = 0
        mask = torch.empty_like(weight, dtype=torch.bool)
        columns = weight.shape[1]
        group = pattern.group if isinstance(pattern, NM) else 1
        block = max(self.block // group, 1) * group  # whole groups only
        for a in range(0, columns, block):
            b = min(a + block, columns)
            lost = _sweep(weight[:, a:b], mask[:, a:b], factor[a:b, a:b], pattern)
            weight[:, b:] -= lost @ factor[a:b, b:]
        return Pruned(weight, mask)


def _sweep(weight: Tensor, mask: Tensor, factor: Tensor, pattern: Pattern) -> Tensor:
    """Prune one block of columns in place, `weight` and `mask` (R, b) being views; returns the errors e (R, b).

    Works on the transpose, where a column lies contiguous in memory.
    """
    diagonal = factor.diagonal()
    columns = weight.T.contiguous()
    keep = torch.empty_like(columns, dtype=torch.bool)
    lost = torch.empty_like(columns)
    group = pattern.group if isinstance(pattern, NM) else len(columns)
    for j in range(len(columns)):
        if j % group == 0:
            ahead = slice(j, j + group)
            scores = (columns[ahead].T / diagonal[ahead]).square()
            keep[ahead] = pattern.mask(scores, "layer").T
        kept = columns[j] * keep[j]
        lost[j] = (columns[j] - kept) / diagonal[j]
        columns[j] = kept
        columns[j + 1 :].addr_(factor[j, j + 1 :], lost[j], alpha=-1)
    weight.copy_(columns.T)
    mask.copy_(keep.T)
    return lost.T
