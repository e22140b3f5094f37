"""Experts that are modules of a list inside a block: known by the tokens that reach them, and by their siblings.

A short text may not reach every expert. One at rest is a layer like that of its sibling: the linear of the same shape
in the same place of another item of the list.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from torch import nn
from transformers.pytorch_utils import Conv1D

from sds_core.models.linear import Linear


class _Member(NamedTuple):
    """The place of a linear in a list of modules."""

    owner: str
    """Name of the list inside the block."""
    item: str
    inner: str
    """Name of the linear inside the item; empty for the item itself."""

    @property
    def label(self) -> str:
        return ".".join(filter(None, self))


def _members(block: nn.Module, label: str) -> Iterator[_Member]:
    """Yield a linear's places in the lists around it, innermost first."""
    words = label.split(".")
    for end in range(len(words) - 1, 0, -1):
        if isinstance(block.get_submodule(owner := ".".join(words[:end])), nn.ModuleList):
            yield _Member(owner, words[end], ".".join(words[end + 1 :]))


def experts_at_rest(
    block: nn.Module, called: Sequence[tuple[int, Linear]], resting: Mapping[str, nn.Linear | Conv1D]
) -> list[tuple[int, Linear]]:
    """Return the linears at rest that have a prunable sibling, each with the sibling's place among the calls.

    Args:
        block: the block.
        called: its prunable linears that were called, each with its place among the calls.
        resting: linears inside it that no token reached, by label.
    """
    siblings: dict[tuple, tuple[int, Linear]] = {}
    for place, linear in called:
        for member in _members(block, linear.label):
            siblings.setdefault((member.owner, member.inner, type(linear.module), linear.weight.shape), (place, linear))
    found = []
    for label, module in resting.items():
        weight = module.weight.T if isinstance(module, Conv1D) else module.weight
        for member in _members(block, label):
            if sibling := siblings.get((member.owner, member.inner, type(module), weight.shape)):
                found.append((sibling[0], _like(sibling[1], block, label, member, module)))
                break
    return found


def _like(sibling: Linear, block: nn.Module, label: str, member: _Member, module: nn.Module) -> Linear:
    """Return the linear that is to its expert what the sibling is to its own; it shares inputs inside it alone."""
    own, leader = (
        next((one for one in _members(block, name) if one.owner == member.owner), None)
        for name in (sibling.label, sibling.input)
    )
    shared = leader._replace(item=member.item).label if own and leader and own.item == leader.item else label
    name = sibling.name.removesuffix(sibling.label) + label
    return replace(sibling, name=name, label=label, module=module, place=f"{label}.weight", input=shared, group=shared)


def marked_as_routed(
    block: nn.Module, linears: Sequence[tuple[int, Linear]], partly: set[str]
) -> list[tuple[int, Linear]]:
    """Return the linears with those of lists of experts marked, the same part of all experts as one group.

    Args:
        block: the block.
        linears: its prunable linears, each with its place among the calls.
        partly: labels of those that some tokens did not reach.
    """
    lists = {member.owner for label in partly for member in _members(block, label)}

    def marked(linear: Linear) -> Linear:
        for leader in _members(block, linear.input):
            if leader.owner in lists:
                return replace(linear, routed=True, group=leader._replace(item="*").label)
        return linear

    return [(place, marked(linear)) for place, linear in linears]
