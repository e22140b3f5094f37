"""Reconstruction windows: how much of a model is adjusted together once its layers are pruned; masks stay."""

from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

from sds_core.errors import SDSError

Window = Literal["submodule", "block"]
"""The layers of an attention or an MLP together, or all of a block."""
MATRIX, MODEL = "matrix", "model"
"""No window beyond the single matrix, which the methods themselves solve; the whole model, in a phase of its own."""
CHOICES = (MATRIX, "submodule", "block", MODEL, f"submodule {MODEL}", f"block {MODEL}")


@dataclass(frozen=True)
class Reconstruction:
    """Kept weights of a part of a block adjusted by Adam, towards what the dense weights make of the same inputs."""

    window: Window
    epochs: int = 2
    """Passes over the calibration windows."""
    rate: float = 0.0015
    """Length of the first steps, in units of the root mean square of a layer's kept weights; it falls to 0 by a
    cosine."""


@dataclass(frozen=True)
class Distillation:
    """All kept weights of a model adjusted by Adam, towards the dense model's next-token distributions."""

    epochs: int = 1
    """Passes over its windows."""
    windows: int = 0
    """Windows of the calibration text that it reads; 0 for as many as calibrate."""
    rate: float = 0.001
    """As for `Reconstruction`."""


class Windows(NamedTuple):
    """Windows adjusted together once layers are solved: first parts of blocks, then the model; None for nothing."""

    block: Reconstruction | None
    model: Distillation | None


def windows_of(reconstruct: str, epochs: int = 0, windows: int = 0, rate: float = 0.0) -> Windows:
    """Return the windows that the options describe; of two windows they are about the wider, 0 means a default.

    Args:
        reconstruct: one of `CHOICES`.

    Raises:
        SDSError: there is no window that an option is about.
    """
    given = {name: value for name, value in (("epochs", epochs), ("windows", windows), ("rate", rate)) if value}
    inner, distilled = inner_of(reconstruct), distils(reconstruct)
    if given and (inner == MATRIX or "windows" in given) and not distilled:
        name, value = ("windows", windows) if inner != MATRIX else next(iter(given.items()))
        wanted = MODEL if name == "windows" else f"one of {', '.join(CHOICES[1:4])}"
        raise SDSError(
            f"--reconstruct-{name} needs a window that is adjusted", got=value, cure=f"add --reconstruct, {wanted}"
        )
    own = {} if distilled else given
    block = None if inner == MATRIX else Reconstruction(cast(Window, inner), **own)  # type: ignore[arg-type]
    return Windows(block, Distillation(**given) if distilled else None)  # type: ignore[arg-type]


def inner_of(reconstruct: str) -> str:
    """Return the window inside a block: matrix, submodule or block."""
    return reconstruct.removesuffix(MODEL).strip() or MATRIX


def distils(reconstruct: str) -> bool:
    """Whether the model as a whole is adjusted at the end."""
    return reconstruct.endswith(MODEL)


def then_distilled(reconstruct: str) -> str:
    """Return the same windows, the whole model among them."""
    inner = inner_of(reconstruct)
    return MODEL if inner == MATRIX else f"{inner} {MODEL}"
