"""Observe matrix products with parts of parameters as they are computed: experts are not modules that could be hooked.

transformers stores the experts of a mixture as one parameter (E, R, C) or (E, C, R) for each projection, and multiplies
the tokens that are routed to an expert by its slice.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

NAMES = ("matmul", "mm", "bmm")
"""Functions of torch that multiply two matrices, besides `linear`."""
Note = Callable[[Tensor, Tensor], None]


class _ProductMode(TorchFunctionMode):
    """Report every matrix product before it is computed."""

    def __init__(self, note: Note):
        super().__init__()
        self._note = note

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name == "linear" or name in NAMES:
            left, right = [*args, *kwargs.values()][:2]
            if name == "linear":
                self._report(right, left)
            elif left.ndim > 1 and right.ndim > 1:
                self._report(right.mT, left)
                self._report(left, right.mT)
        return func(*args, **kwargs)

    def _report(self, matrix: Tensor, inputs: Tensor) -> None:
        if matrix.ndim == 2:
            if inputs.numel():
                self._note(matrix, inputs)
        elif matrix.ndim == 3 and inputs.ndim == 3 and len(matrix) == len(inputs):
            for weight, tokens in zip(matrix, inputs, strict=True):
                if len(routed := tokens[(tokens != 0).any(-1)]):  # tokens routed to other experts are zero
                    self._note(weight, routed)


@contextmanager
def watching_products(note: Note) -> Iterator[None]:
    """Call `note(matrix, inputs)` before each product of inputs (..., N, C) with a matrix (R, C) inside the `with`.

    A batch of products counts as several. Which operand is the matrix is not known here: both readings are reported.
    """
    with _ProductMode(note):
        yield


@dataclass(eq=False)
class Stack:
    """A parameter of three dimensions inside a module, and the first product with one of its slices."""

    module: nn.Module
    parameter: nn.Parameter
    transposed: bool = False
    inputs: Tensor | None = None
    """Inputs of the first product seen; kept alive so that their address is not reused."""
    place: int = 0
    """Number of module calls before that product."""

    def note(self, matrix: Tensor, inputs: Tensor, place: int) -> None:
        """Record the first product whose matrix is a slice of this parameter."""
        if self.inputs is not None or matrix.dtype != self.parameter.dtype:
            return
        stored = self.parameter.data
        step = stored.stride(0) * stored.element_size()
        offset = matrix.data_ptr() - stored.data_ptr()
        if step == 0 or offset % step or not 0 <= offset // step < len(stored):
            return
        own, transposed = stored[0], stored[0].T
        if (matrix.shape, matrix.stride()) == (own.shape, own.stride()):
            self.inputs, self.place = inputs, place
        elif (matrix.shape, matrix.stride()) == (transposed.shape, transposed.stride()):
            self.inputs, self.place, self.transposed = inputs, place, True


def stacks(model: nn.Module) -> dict[str, Stack]:
    """Return the parameters of three dimensions by full name, except convolution kernels."""
    return {
        f"{name}.{key}" if name else key: Stack(module, parameter)
        for name, module in model.named_modules()
        if not isinstance(module, torch.nn.modules.conv._ConvNd)
        for key, parameter in module.named_parameters(recurse=False)
        if parameter.ndim == 3
    }
