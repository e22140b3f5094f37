"""Sparsity patterns: the only place where scores become a mask, with exact counts.

A mask is True where a weight is kept; of equal scores the lower index is kept.
"""

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Literal

import torch
from torch import Tensor

from sds_core.errors import SDSError

Within = Literal["row", "layer"]
"""The comparison group of an unstructured pattern: the weights of an output row, or the whole layer."""

ALLOWED = "a ratio of pruned weights such as 0.5 or 50%, or KEPT:GROUP such as 2:4"


@dataclass(frozen=True)
class Unstructured:
    """Unstructured sparsity: exactly ⌊ratio · count⌋ weights are pruned in every comparison group."""

    ratio: Fraction
    """Share of weights to prune, an exact fraction in [0, 1); a float or string is read as its decimal digits."""

    def __post_init__(self) -> None:
        try:
            ratio = Fraction(str(self.ratio))
        except (ValueError, ZeroDivisionError):
            raise SDSError("not a sparsity pattern", got=self.ratio, allowed=ALLOWED) from None
        if not 0 <= ratio < 1:
            raise SDSError(
                "sparsity ratio out of range", got=f"{float(ratio):g}", allowed="0 up to, but not including, 1"
            )
        object.__setattr__(self, "ratio", ratio)

    def check(self, columns: int, layer: str) -> None:
        """Accept every layer."""

    def mask(self, scores: Tensor, within: Within) -> Tensor:
        """Return the mask (R, C) of the highest scores (R, C) within each row, or within the whole layer."""
        groups = scores if within == "row" else scores.reshape(1, -1)
        drop = math.floor(self.ratio * groups.shape[1])
        return _keep_highest(groups, groups.shape[1] - drop).view(scores.shape)

    def __str__(self) -> str:
        return f"{float(self.ratio * 100):g}%"


@dataclass(frozen=True)
class NM:
    """N:M semi-structured sparsity: of every `group` consecutive inputs of a row, exactly `keep` weights are kept."""

    keep: int
    """N, the number of weights *kept* (some reference codes count the pruned ones)."""
    group: int
    """M, the number of consecutive inputs in a group."""

    def __post_init__(self) -> None:
        if not 0 < self.keep < self.group:
            raise SDSError("not an N:M pattern", got=str(self), allowed="KEPT:GROUP with 0 < KEPT < GROUP, such as 2:4")

    def check(self, columns: int, layer: str) -> None:
        """Check that a layer's inputs divide into groups.

        Raises:
            SDSError: they do not.
        """
        if columns % self.group:
            label = layer.rpartition(".")[2]
            raise SDSError(
                f"the pattern {self} does not divide the {columns} inputs of layer {layer}",
                allowed=f"a GROUP that divides {columns}",
                cure=f"choose another pattern or a ratio such as 0.5, or leave such layers dense: --exclude '*{label}'",
            )

    def mask(self, scores: Tensor, within: Within = "row") -> Tensor:
        """Return the mask (R, C) of the highest scores (R, C) in each group, whatever `within`.

        A score's rank in its group is counted by comparing all pairs, which for groups this small is several times
        faster than sorting. Ranks are numbers of the scores' own type: comparisons that return truth values are slow.
        """
        assert scores.shape[1] % self.group == 0 and not _has_nan(scores)
        if scores.numel() * self.group <= FEW:
            return self._mask_of_few(scores)
        places = [place.contiguous() for place in scores.reshape(-1, self.group).unbind(1)]
        ranks = [torch.full_like(place, self.group - 1 - i) for i, place in enumerate(places)]  # all others win
        wins = torch.empty_like(places[0])
        for j in range(1, self.group):
            for i in range(j):
                torch.ge(places[i], places[j], out=wins)
                ranks[i] -= wins
                ranks[j] += wins
        return torch.stack([rank.lt_(self.keep).bool() for rank in ranks], dim=1).view(scores.shape)

    def _mask_of_few(self, scores: Tensor) -> Tensor:
        """The same in a handful of calls, which for few scores is what takes the time: all pairs at once."""
        places = scores.reshape(-1, self.group).T
        wins = torch.empty(self.group, *places.shape, dtype=scores.dtype, device=scores.device)
        torch.ge(places[:, None], places[None], out=wins)
        pairs, others = _pairs(self.group, scores.dtype, scores.device)
        ranks = torch.addmm(others, pairs, wins.flatten(0, 1))
        return ranks.lt_(self.keep).bool().T.reshape(scores.shape)

    def __str__(self) -> str:
        return f"{self.keep}:{self.group}"


FEW = 1 << 16
"""Pairs of scores that are compared at once."""


@cache
def _pairs(group: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return how wins of earlier over later places (group, group²) make up ranks, and the ranks without any."""
    earlier = torch.ones(group, group).triu(1)
    one, each = torch.eye(group), earlier[None]
    pairs = (one[:, None] - one[:, :, None]) * each
    return pairs.flatten(1).to(device, dtype), torch.arange(group - 1, -1, -1).to(device, dtype)[:, None]


Pattern = Unstructured | NM


def parse_pattern(text: str) -> Pattern:
    """Parse `2:4`, `0.5` or `50%`.

    Raises:
        SDSError: not a pattern, or numbers out of range.
    """
    text = text.strip()
    if match := re.fullmatch(r"(\d{1,4}):(\d{1,4})", text):
        return NM(keep=int(match[1]), group=int(match[2]))
    if match := re.fullmatch(r"(\d{1,20}(?:\.\d{1,20})?)%", text):
        return Unstructured(Fraction(match[1]) / 100)
    if not re.fullmatch(r"\d{0,20}\.?\d{1,20}", text):
        raise SDSError("not a sparsity pattern", got=text, allowed=ALLOWED)
    return Unstructured(Fraction(text))


GROUPS = (2, 4, 8, 16, 32)
"""Group lengths that `find_pattern` tries for an N:M pattern."""
EXPLAINED = 0.99
"""An N:M pattern that holds counts as intended if it accounts for this share of the zeros."""


def holds(masks: list[Tensor], pattern: NM) -> bool:
    """Return whether no group of any mask (R, C) keeps more weights than the pattern allows."""
    divided = all(mask.shape[1] % pattern.group == 0 for mask in masks)
    return divided and _most_kept(masks, pattern.group) <= pattern.keep


def find_pattern(masks: list[Tensor]) -> Pattern:
    """Infer the pattern of masks (R, C) from their zeros.

    The N:M pattern with the shortest groups that holds in all masks and accounts for their zeros; otherwise the ratio
    of zeros, to a hundredth of a per cent.
    """
    zeros, count = sum(int((~mask).sum()) for mask in masks), sum(mask.numel() for mask in masks)
    for group in GROUPS:
        if any(mask.shape[1] % group for mask in masks):
            break
        keep = _most_kept(masks, group)
        if 0 < keep < group and count * (group - keep) >= EXPLAINED * zeros * group:
            return NM(keep=keep, group=group)
    return Unstructured(round(Fraction(zeros, count), 4))


def _most_kept(masks: list[Tensor], group: int) -> int:
    return max(int(mask.reshape(-1, group).sum(dim=1).max()) for mask in masks)


def _keep_highest(groups: Tensor, keep: int) -> Tensor:
    """Return the mask (G, n) of the `keep` highest scores in each of G rows, ties to the lower index, by selection."""
    assert not _has_nan(groups), "scores must be numbers"
    count = groups.shape[1]
    if keep == count:
        return torch.ones_like(groups, dtype=torch.bool)
    threshold = groups.kthvalue(count - keep + 1, dim=1, keepdim=True).values  # the lowest score kept
    above = groups > threshold
    tied = groups == threshold
    room = keep - above.sum(dim=1, keepdim=True)
    return above | (tied & (tied.cumsum(dim=1) <= room))


def _has_nan(scores: Tensor) -> bool:
    """Whether a score is NaN: the highest is then, and is found faster than the first that is.

    On a device the host does not wait to know; whoever solves for weights there checks what comes out.
    """
    return scores.is_cpu and bool(scores.numel() and scores.max().isnan())
