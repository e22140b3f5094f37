"""Layers that the user wants left alone, named by patterns: they stay dense and count as not prunable."""

from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from sds_core.errors import SDSError
from sds_core.models.structure import SHARED, Linear, ModelStructure

SHOWN = 8
"""So many names are shown where a pattern matches none."""


def exclude_layers(structure: ModelStructure, patterns: Sequence[str]) -> ModelStructure:
    """The structure without the linears whose full dotted name fits a pattern, which are listed in its `excluded`.

    Blocks that share a weight share its fate: where the name in one of them fits, none of them is pruned.

    Args:
        structure: all that could be pruned.
        patterns: as a shell takes them (`*`, `?`, `[…]`), such as `*.0.*` or `*down_proj`; dots are plain letters.

    Raises:
        SDSError: a pattern fits no prunable linear, or nothing is left to prune.
    """
    if not patterns:
        return structure
    linears = [linear for block in structure.blocks for linear in block.linears]
    weights = {linear.name: id(linear.module.weight) for linear in linears}
    for name, why in structure.excluded.items():
        if why == SHARED:
            weights[name] = id(structure.model.get_submodule(name).weight)
    by_weight: dict[int, str] = {}
    for pattern in patterns:
        fitting = [weight for name, weight in weights.items() if fnmatchcase(name, pattern)]
        if not fitting:
            raise _nothing_fits(pattern, linears)
        for weight in fitting:
            by_weight.setdefault(weight, pattern)
    excluded_names = {name: by_weight[weight] for name, weight in weights.items() if weight in by_weight}
    if all(linear.name in excluded_names for linear in linears):
        raise SDSError("every layer that could be pruned is excluded", got=" ".join(patterns), cure="exclude fewer")
    blocks = [
        replace(block, linears=_regrouped([linear for linear in block.linears if linear.name not in excluded_names]))
        for block in structure.blocks
    ]
    reasons = {name: f"excluded by --exclude {pattern}" for name, pattern in excluded_names.items()}
    return replace(structure, blocks=tuple(blocks), excluded=structure.excluded | reasons)


def _regrouped(linears: list[Linear]) -> tuple[Linear, ...]:
    """Linears that share an input share the Gram matrix of the first that is left of them."""
    heads: dict[str, str] = {}
    return tuple(replace(linear, input=heads.setdefault(linear.input, linear.label)) for linear in linears)


def _nothing_fits(pattern: str, linears: list[Linear]) -> SDSError:
    apart = max(len(linears) // SHOWN, 1)
    names = [linear.name for linear in linears][::apart][:SHOWN]
    return SDSError(
        "no layer that could be pruned has a name that fits --exclude",
        got=pattern,
        allowed=f"such as {', '.join(names)}",
    )
