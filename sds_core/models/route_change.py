"""The change of a mixture's routing by pruning; importing this stays cheap, for records that hold it."""

from dataclasses import dataclass
from statistics import fmean


@dataclass(frozen=True)
class BlockRoutes:
    """The share of tokens that a block sends to other experts than the dense model does."""

    block: int
    """Index of the block."""
    changed: float
    """Between 0 and 1: a token counts if one of its experts is another."""


@dataclass(frozen=True)
class RouteChange:
    """The share of tokens whose experts are others than in the dense model, on the evaluation windows."""

    blocks: tuple[BlockRoutes, ...]
    """Those with experts, in order."""

    @property
    def changed(self) -> float:
        """The share over all blocks."""
        return fmean(one.changed for one in self.blocks) if self.blocks else 0.0

    def of_block(self, block: int) -> float | None:
        """Return a block's share; None if it has no experts."""
        return next((one.changed for one in self.blocks if one.block == block), None)

    @property
    def sentence(self) -> str:
        """The change in words."""
        most = max(self.blocks, key=lambda one: one.changed, default=BlockRoutes(0, 0.0))
        return (
            f"Routers send {100 * self.changed:.1f} % of the evaluation tokens to other experts than in the dense "
            f"model, the mean over blocks; block {most.block} the most, {100 * most.changed:.1f} %."
        )
