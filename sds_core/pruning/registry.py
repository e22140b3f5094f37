"""Layer pruners. Adding one is a file beside this and a line in `PRUNERS`; options and tests pick it up from here.

A pruner is a frozen dataclass whose fields are its options, with `solve(problem, pattern) -> Pruned`.
"""

from typing import Protocol

from sds_core.errors import SDSError
from sds_core.pruning.layer_problem import LayerProblem, Pruned
from sds_core.pruning.magnitude import Magnitude
from sds_core.pruning.pattern import Pattern
from sds_core.pruning.sparsegpt import SparseGPT
from sds_core.pruning.wanda import Wanda


class Pruner(Protocol):
    """Chooses which weights of one layer to keep, and their values."""

    def solve(self, problem: LayerProblem, pattern: Pattern) -> Pruned: ...


PRUNERS: dict[str, type[Pruner]] = {
    "magnitude": Magnitude,
    "wanda": Wanda,
    "sparsegpt": SparseGPT,
}


def make_pruner(name: str) -> Pruner:
    """The named pruner with its default options.

    Raises:
        SDSError: no pruner has that name.
    """
    if name not in PRUNERS:
        raise SDSError("unknown pruner", got=name, allowed=", ".join(PRUNERS))
    return PRUNERS[name]()
