"""Reconstruction windows: how much of a model is adjusted together once its layers are pruned; masks stay."""

from dataclasses import dataclass
from typing import Literal, get_args

from sds_core.errors import SDSError

Window = Literal["submodule", "block"]
"""The layers of an attention or an MLP together, or all of a block."""
MATRIX = "matrix"
"""No window beyond the single matrix, which the methods themselves solve."""
CHOICES = (MATRIX, *get_args(Window))


@dataclass(frozen=True)
class Reconstruction:
    """Kept weights adjusted together by Adam, towards what the dense weights make of the same inputs."""

    window: Window
    epochs: int = 2
    """Passes over the calibration windows."""
    rate: float = 0.0015
    """Length of the first steps, in units of the root mean square of a layer's kept weights; it falls to 0 by a
    cosine."""


def reconstruction(window: str, epochs: int, rate: float) -> Reconstruction | None:
    """Return the adjustment that options ask for, 0 standing for a default; None for single matrices.

    Raises:
        SDSError: epochs or a rate are given, but no window.
    """
    given = {name: value for name, value in (("epochs", epochs), ("rate", rate)) if value}
    if window != MATRIX:
        return Reconstruction(window, **given)  # type: ignore[arg-type]  # the option's choices are checked
    if given:
        name, value = next(iter(given.items()))
        raise SDSError(
            f"--reconstruct-{name} needs a window that is adjusted",
            got=value,
            cure=f"add --reconstruct, one of {', '.join(CHOICES[1:])}",
        )
    return None
