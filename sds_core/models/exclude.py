"""Layers that the user excludes by name: they stay dense and count as not prunable."""

from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from sds_core.errors import SDSError
from sds_core.models.linear import SHARED, Linear
from sds_core.models.structure import ModelStructure

SHOWN = 8
"""Number of names shown where a pattern matches none."""


def exclude_layers(structure: ModelStructure, patterns: Sequence[str]) -> ModelStructure:
    """Return the structure without the linears whose full dotted name matches a pattern; they join its `excluded`.

    A weight shared by several blocks is excluded in all of them if its name in one of them matches.

    Args:
        structure: with all prunable linears.
        patterns: shell patterns (`*`, `?`, `[…]`) such as `*.0.*` or `*down_proj`.

    Raises:
        SDSError: a pattern matches no prunable linear, or none is left.
    """
    if not patterns:
        return structure
    linears = [linear for block in structure.blocks for linear in block.linears]
    weights = {linear.name: linear.identity for linear in linears}
    modules = dict(structure.model.named_modules())
    for name, why in structure.excluded.items():
        if why == SHARED and name in modules:
            weights[name] = id(modules[name].weight), None
    by_weight = dict[tuple[int, int | None], str]()
    for pattern in patterns:
        matching = [weight for name, weight in weights.items() if fnmatchcase(name, pattern)]
        if not matching:
            raise _no_match(pattern, linears)
        for weight in matching:
            by_weight.setdefault(weight, pattern)
    excluded_names = {name: by_weight[weight] for name, weight in weights.items() if weight in by_weight}
    if all(linear.name in excluded_names for linear in linears):
        raise SDSError("every prunable layer is excluded", got=" ".join(patterns), cure="exclude fewer")
    blocks = [
        replace(block, linears=_regrouped([linear for linear in block.linears if linear.name not in excluded_names]))
        for block in structure.blocks
    ]
    reasons = {name: f"excluded by --exclude {pattern}" for name, pattern in excluded_names.items()}
    return replace(structure, blocks=tuple(blocks), excluded=structure.excluded | reasons)


def _regrouped(linears: list[Linear]) -> tuple[Linear, ...]:
    """Linears that share an input share the Gram matrix of the first of them that is left."""
    leaders: dict[str, str] = {}
    return tuple(replace(linear, input=leaders.setdefault(linear.input, linear.label)) for linear in linears)


def _no_match(pattern: str, linears: list[Linear]) -> SDSError:
    apart = max(len(linears) // SHOWN, 1)
    names = [linear.name for linear in linears][::apart][:SHOWN]
    return SDSError(
        "no prunable layer matches --exclude",
        got=pattern,
        allowed=f"such as {', '.join(names)}",
    )
