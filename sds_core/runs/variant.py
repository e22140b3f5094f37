"""A variant: one way through an experiment's phases."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from sds_core.options import Overrides
from sds_core.pruning.methods import METHODS, make_method
from sds_core.pruning.reconstruction import MATRIX, Windows, windows_of
from sds_core.pruning.titles import BASE
from sds_core.runs.config import RunConfig
from sds_core.runs.phases import PLAIN, RECONSTRUCTED, phase_numbers_of, without_distilling


@dataclass(frozen=True)
class Variant:
    """One way through the phases: a base pruner alone, or a method that continues from it."""

    method: str
    pruner: str
    options: dict[str, bool | int | float] = field(default_factory=dict)
    """Options of the method that differ from its defaults."""
    reconstruct: str = MATRIX
    reconstruct_epochs: int = 0
    reconstruct_windows: int = 0
    reconstruct_rate: float = 0.0

    def __post_init__(self) -> None:
        make_method(self.method, self.options)
        _ = self.windows

    @property
    def base(self) -> Variant:
        """The base pruner that this variant starts from."""
        return Variant(BASE, self.pruner)

    @property
    def phase_numbers(self) -> tuple[int, ...]:
        """The phases it goes through."""
        return phase_numbers_of(self.method, self.reconstruct)

    @property
    def windows(self) -> Windows:
        """The windows adjusted in phase 3, and those after it."""
        return windows_of(*self.reconstruct_options.values())

    @property
    def reconstruct_options(self) -> Overrides:
        """The options of a run that say so."""
        return {name: getattr(self, name) for name in RECONSTRUCTED}

    def before(self, phase: int) -> int:
        """Return the phase before one of its phases, which is not the first."""
        return self.phase_numbers[self.phase_numbers.index(phase) - 1]

    def until(self, phase: int) -> Variant:
        """Return the variant that ends with a phase of this one."""
        if phase >= self.phase_numbers[-1]:
            return self
        return replace(self, **(PLAIN if phase < 3 else without_distilling(self.reconstruct_options)))

    @property
    def name(self) -> str:
        """Its name in a URL, apart from its options."""
        return self.pruner if self.method == BASE and 3 not in self.phase_numbers else f"{self.method}-{self.pruner}"

    def same_as(self, config: RunConfig, phase: int) -> bool:
        """Whether a run has this variant's method, pruner and options, as far as a phase needs them."""
        if (config.method, config.pruner) != (self.method, self.pruner):
            return False
        mine, its = self.until(phase).windows, variant_of(config).until(phase).windows
        return mine == its and config.made_method() == make_method(self.method, self.options)


def variant_of(config: RunConfig) -> Variant:
    """Return the variant that a run belongs to."""
    adjusted = {name: getattr(config, name) for name in RECONSTRUCTED}
    return Variant(config.method, config.pruner, config.options, **adjusted)


def stepped_methods() -> list[str]:
    """Return the methods that continue from a base pruner's run: the two forms of SDS first, then the controls."""
    finishing = [name for name, method in METHODS.items() if method.finishes]
    return sorted(finishing, key=lambda name: not METHODS[name].redenses)
