"""The effect of adjusting a block as a whole; importing this stays cheap, for records that hold it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class BlockChange:
    """The effect of adjusting a block on its error: ‖wanted − made‖² / ‖wanted‖² of its outputs, the mean over tokens.

    Outputs are hidden states, so an error counts as much as the next block's normalisation will let it.
    """

    before: float
    after: float
    """`WORSE` where it is not finite."""

    @property
    def kept(self) -> bool:
        """Whether it was worth it; otherwise the block stays as it was."""
        return self.after < self.before
