"""Labels of an experiment's variants in pictures: names in words and in the address, and colours."""

from __future__ import annotations

from collections.abc import Sequence

from sds_core.figures.palette import palette
from sds_core.pruning.methods import METHODS
from sds_core.pruning.registry import NO_PRUNER
from sds_core.pruning.titles import BASE, pruner_title
from sds_core.runs.config import RunConfig
from sds_core.runs.names import SEPARATOR, apart
from sds_core.runs.variant import Variant


def titles(variants: Sequence[Variant]) -> list[str]:
    """Return what to call each variant where its base pruner stands beside it; forms of one method say what differs."""
    found = []
    for variant in variants:
        forms = [one for one in variants if (one.method, one.pruner) == (variant.method, variant.pruner)]
        differing = apart(_config(variant), list(map(_config, forms))) if len(forms) > 1 else ()
        found.append(SEPARATOR.join([_title(variant), *differing]))
    return found


def _config(variant: Variant) -> RunConfig:
    """Return the configuration of a whole run of a variant."""
    made = {"method": variant.method, "pruner": variant.pruner, "options": variant.options}
    return RunConfig.from_dict(made | variant.reconstruct_options)


def _title(variant: Variant) -> str:
    return pruner_title(variant.pruner) if variant.method == BASE else METHODS[variant.method].title


def base_title(variant: Variant) -> str | None:
    """Return the name of the base pruner that a variant starts from; None for one itself, and for a checkpoint."""
    return None if variant.method == BASE or variant.pruner == NO_PRUNER else pruner_title(variant.pruner)


def full_title(variant: Variant) -> str:
    """Return what to call a variant where it stands alone, as its runs are called."""
    base = base_title(variant)
    return f"{_title(variant)} · {base}" if base else _title(variant)


def keys(variants: Sequence[Variant]) -> list[str]:
    """Return a name in the address for each variant; the second of one name has its number behind it."""
    found: list[str] = []
    for variant in variants:
        number = 1 + sum(one.name == variant.name for one in variants[: len(found)])
        found.append(variant.name if number == 1 else f"{variant.name}-{number}")
    return found


def colors(variants: Sequence[Variant]) -> list[str]:
    """Return the palette's name for each variant's colour."""
    return palette().assign(one.pruner if one.method == BASE else one.method for one in variants)
