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

    Weights on dead inputs score 0; those that the mask keeps nevertheless stay as they are. (The published code sets
    them to 0.)
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
        dead = problem.gram.dead
        weight = problem.weight.masked_fill(dead, 0)
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
        return Pruned(torch.where(dead & mask, problem.weight, weight), mask)


@dataclass(eq=False, slots=True)
class ColumnStep:
    """The state after one column of a block was pruned and its error passed to the columns on its right.

    The next step overwrites the tensors, which are views; copy them to keep them.
    """

    index: int
    """Index of the column in the block."""
    scores: Tensor
    """(w_ij / U_jj)² of the column's group (R, M), or of the block, at the time of selection."""
    columns: Tensor
    keep: Tensor
    errors: Tensor
    """These three are transposed, (b, R), where a column is contiguous in memory."""

    @property
    def weight(self) -> Tensor:
        """The block's current weights (R, b)."""
        return self.columns.T

    @property
    def mask(self) -> Tensor:
        """bool (R, b), True where kept; False for columns whose mask is not selected yet."""
        return self.keep.T

    @property
    def lost(self) -> Tensor:
        """The errors e (R, b); zero for later columns."""
        return self.errors.T


def column_steps(weight: Tensor, factor: Tensor, pattern: Pattern) -> Iterator[ColumnStep]:
    """Prune the columns of one block in turn.

    Args:
        weight: the block's weights (R, b); not modified.
        factor: the block's part (b, b) of U, upper triangular with UᵀU = (H + δI)⁻¹.
        pattern: the pattern of the mask, which is selected group by group, or for the whole block at once.
    """
    diagonal = factor.diagonal()
    columns = weight.T.clone(memory_format=torch.contiguous_format)
    keep = torch.zeros_like(columns, dtype=torch.bool)
    errors = torch.zeros_like(columns)
    group = pattern.group if isinstance(pattern, NM) else len(columns)
    each = enumerate(zip(columns.unbind(), errors.unbind(), diagonal.unbind(), factor.unbind(), strict=True))
    for j, (column, error, pivot, row) in each:
        if j % group == 0:
            ahead = slice(j, j + group)
            scores = (columns[ahead].T / diagonal[ahead]).square()
            keep[ahead] = pattern.mask(scores, "layer").T
            kept = keep[ahead].to(columns.dtype)
            each_kept, each_lost = iter(kept.unbind()), iter((1 - kept).unbind())
        torch.mul(column, next(each_lost), out=error).div_(pivot)
        column.mul_(next(each_kept))
        columns[j + 1 :].addr_(row[j + 1 :], error, alpha=-1)
        yield ColumnStep(j, scores, columns, keep, errors)
