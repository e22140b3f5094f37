"""The effect of block reconstruction on a block's error; importing this stays cheap, for records that hold it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class BlockChange:
    """A block's error before and after: ‖target − output‖² / ‖target‖² of its outputs, the mean over tokens.

    Outputs are hidden states, which the next block normalises, hence a relative error.
    """

    before: float
    after: float
    """`WORSE` where it is not finite."""

    @property
    def kept(self) -> bool:
        """Whether the error fell; otherwise the block stays as it was."""
        return self.after < self.before
