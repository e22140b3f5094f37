"""A variant: one way through an experiment's phases."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from sds_core.options import Overrides
from sds_core.pruning.methods import METHODS, make_method
from sds_core.pruning.reconstruction import MATRIX, Reconstruction, reconstruction
from sds_core.runs.config import PLAIN, RECONSTRUCTED, RunConfig, steps_of

BASE = "base"
"""The method of a base pruner alone; its variant ends with phase 1, unless blocks are adjusted."""


@dataclass(frozen=True)
class Variant:
    """One way through the phases: a base pruner alone, or a method that goes on from it."""

    method: str
    pruner: str
    options: dict[str, int | float] = field(default_factory=dict)
    """Options of the method that differ from its defaults."""
    reconstruct: str = MATRIX
    reconstruct_epochs: int = 0
    reconstruct_rate: float = 0.0

    def __post_init__(self) -> None:
        make_method(self.method, self.options)
        _ = self.reconstruction

    @property
    def base(self) -> Variant:
        """The base pruner that this variant starts from."""
        return Variant(BASE, self.pruner)

    @property
    def phases(self) -> tuple[int, ...]:
        """The phases it goes through."""
        return steps_of(self.method, self.reconstruct)

    @property
    def reconstruction(self) -> Reconstruction | None:
        """How parts of a block are adjusted in phase 3; None where they are not."""
        return reconstruction(self.reconstruct, self.reconstruct_epochs, self.reconstruct_rate)

    @property
    def reconstruct_options(self) -> Overrides:
        """The options of a run that say so."""
        return {name: getattr(self, name) for name in RECONSTRUCTED}

    def before(self, phase: int) -> int:
        """Return the phase before one of its phases, which is not the first."""
        return self.phases[self.phases.index(phase) - 1]

    def begins_like(self, other: Variant) -> bool:
        """Whether another variant differs in nothing but what is adjusted in phase 3."""
        return replace(self, **PLAIN) == replace(other, **PLAIN)

    @property
    def name(self) -> str:
        """Its name in a URL, apart from its options."""
        return self.pruner if self.phases == (1,) else f"{self.method}-{self.pruner}"

    def same_as(self, config: RunConfig) -> bool:
        """Whether a run has this variant's method, pruner and options; phase 2 comes before anything is adjusted."""
        if (config.method, config.pruner) != (self.method, self.pruner):
            return False
        adjusted = config.phase == 2 or config.reconstruction == self.reconstruction
        return adjusted and config.made_method() == make_method(self.method, self.options)


def variant_of(config: RunConfig) -> Variant:
    """Return the variant that a run belongs to."""
    adjusted = {name: getattr(config, name) for name in RECONSTRUCTED}
    return Variant(config.method, config.pruner, config.options, **adjusted)


def stepped_methods() -> list[str]:
    """Return the methods that go on from a base pruner's run: the two forms of SDS first, then the controls."""
    return sorted((name for name, one in METHODS.items() if one.finishes), key=lambda name: not METHODS[name].redenses)
