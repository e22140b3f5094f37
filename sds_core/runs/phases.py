"""The phases of a run, from its method and its reconstruction windows."""

from collections.abc import Mapping
from typing import Any

from sds_core.options import Overrides
from sds_core.pruning.methods import METHODS
from sds_core.pruning.reconstruction import MATRIX, MODEL, distils, inner_of
from sds_core.pruning.stages import Phase

PHASES: dict[int, Phase] = {1: "sparse", 2: "redense", 3: "final", 4: "distilled"}
"""The paper's numbers for its phases, and one for what comes after them."""

PLAIN: Overrides = {
    "reconstruct": MATRIX,
    "reconstruct_epochs": 0,
    "reconstruct_windows": 0,
    "reconstruct_rate": 0.0,
}
"""Options of a run in which nothing is adjusted beyond single matrices."""
RECONSTRUCTED = tuple(PLAIN)


def phase_numbers_of(method: str, reconstruct: str) -> tuple[int, ...]:
    """Return the numbers of the phases of a method; what is adjusted in blocks is part of phase 3, the model is 4."""
    own = METHODS[method].phase_numbers()
    last = () if 3 in own or inner_of(reconstruct) == MATRIX else (3,)
    return (*own, *last, *((4,) if distils(reconstruct) else ()))


def beside_methods(reconstructed: Mapping[str, Any]) -> Overrides:
    """Return the options named in `RECONSTRUCTED` for a base pruner that is the reference of a method.

    Nothing is adjusted in blocks, but the model is distilled like the method's.
    """
    if not distils(reconstructed["reconstruct"]):
        return dict(PLAIN)
    return {name: reconstructed[name] for name in RECONSTRUCTED} | {"reconstruct": MODEL}


def without_distilling(reconstructed: Mapping[str, Any]) -> Overrides:
    """Return the options named in `RECONSTRUCTED` without distillation."""
    if not distils(reconstructed["reconstruct"]):
        return {name: reconstructed[name] for name in RECONSTRUCTED}
    return PLAIN | {"reconstruct": inner_of(reconstructed["reconstruct"])}
