"""A variant: one way through an experiment's phases."""

from __future__ import annotations

from dataclasses import dataclass, field

from sds_core.pruning.methods import METHODS, make_method
from sds_core.runs.config import RunConfig

BASE = "base"
"""The method of a base pruner alone; its variant ends with phase 1."""


@dataclass(frozen=True)
class Variant:
    """One way through the phases: a base pruner alone, or a method that goes on from it."""

    method: str
    pruner: str
    options: dict[str, int | float] = field(default_factory=dict)
    """Options of the method that differ from its defaults."""

    def __post_init__(self) -> None:
        make_method(self.method, self.options)

    @property
    def base(self) -> Variant:
        """The base pruner that this variant starts from."""
        return Variant(BASE, self.pruner)

    @property
    def phases(self) -> tuple[int, ...]:
        """The phases it goes through."""
        return METHODS[self.method].phases()

    def before(self, phase: int) -> int:
        """Return the phase that goes before one of its phases but the first."""
        return self.phases[self.phases.index(phase) - 1]

    @property
    def name(self) -> str:
        """Its name in a URL, apart from its options."""
        return self.pruner if self.method == BASE else f"{self.method}-{self.pruner}"

    def same_as(self, config: RunConfig) -> bool:
        """Whether a run has this variant's method, pruner and options."""
        if (config.method, config.pruner) != (self.method, self.pruner):
            return False
        return config.made_method() == make_method(self.method, self.options)


def stepped_methods() -> list[str]:
    """Return the methods that go on from a base pruner's run: the two forms of SDS first, then the controls."""
    return sorted((name for name, one in METHODS.items() if one.finishes), key=lambda name: not METHODS[name].redenses)
