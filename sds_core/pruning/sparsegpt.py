"""SparseGPT (Frantar and Alistarh, arXiv 2301.00774): prune column by column, later columns compensating the error."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from sds_core.errors import SDSError
from sds_core.pruning.layer_problem import LayerProblem, Pruned
from sds_core.pruning.pattern import NM, Pattern


@dataclass(frozen=True, kw_only=True)
class SparseGPT:
    """Column sweep with U, the upper Cholesky factor of (H + δI)⁻¹.

    A weight scores (w_ij / U_jj)². Pruning column j leaves the error e_i = (w_ij − pruned_ij) / U_jj in row i, and
    every later column k is updated by −e_i U_jk, the least-squares compensation (the paper's Algorithm 1).
    """

    damping: float = 0.01
    """δ as a share of the mean of diag H."""
    block: int = 128
    """Columns that share a mask selection in an unstructured pattern; updates beyond a block are batched."""

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
            for step in column_steps(weight[:, a:b], factor[a:b, a:b], pattern):  # noqa: B007, the last step is used
                pass
            weight[:, a:b], mask[:, a:b] = step.weight, step.mask
            weight[:, b:] -= step.lost @ factor[a:b, b:]
        return Pruned(weight, mask)


@dataclass(frozen=True, eq=False)
class ColumnStep:
    """The state after one column of a block was pruned and its error passed to the columns on its right.

    The next step overwrites the tensors; copy them to keep them.
    """

    index: int
    """Index of the column in the block."""
    weight: Tensor
    """The block's current weights (R, b)."""
    mask: Tensor
    """bool (R, b), True where kept; False for columns whose mask is not selected yet."""
    scores: Tensor
    """(w_ij / U_jj)² of the column's group (R, M), or of the block, at the time of selection."""
    lost: Tensor
    """The errors e (R, b); zero for later columns."""


def column_steps(weight: Tensor, factor: Tensor, pattern: Pattern) -> Iterator[ColumnStep]:
    """Prune the columns of one block in turn.

    Works on the transpose, where a column is contiguous in memory.

    Args:
        weight: the block's weights (R, b); not modified.
        factor: the block's part (b, b) of U, upper triangular with UᵀU = (H + δI)⁻¹.
        pattern: the pattern of the mask, which is selected group by group, or for the whole block at once.
    """
    diagonal = factor.diagonal()
    columns = weight.T.clone(memory_format=torch.contiguous_format)
    keep = torch.zeros_like(columns, dtype=torch.bool)
    lost = torch.zeros_like(columns)
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
        yield ColumnStep(j, columns.T, keep.T, scores, lost.T)
