"""The inputs of a block's linears while the block runs, of modules and experts alike."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

from torch import Tensor, nn

from sds_core.models.linear import Linear
from sds_core.models.products import watching_products
from sds_core.models.structure import hooked

Note = Callable[[str, Tensor], None]
Noting = Callable[[Note], AbstractContextManager[None]]


@contextmanager
def watching_inputs(block: nn.Module, linears: Sequence[Linear]) -> Iterator[Noting]:
    """Make it possible to note the inputs of a block's linears, inside the `with` only.

    Args:
        block: the linears' own block or a copy of it, whose parameters stay where they are inside the `with`.
        linears: of the block.

    Yields:
        A function: inside `with noting(note)`, each call of a linear in the same thread calls `note(label, inputs)`
        with its inputs (..., N, C). The note may raise to end the forward pass.
    """
    modules = {block.get_submodule(linear.owner): linear.label for linear in linears if linear.expert is None}
    slices = {
        block.get_parameter(linear.place).data[linear.expert].data_ptr(): linear
        for linear in linears
        if linear.expert is not None
    }
    here = threading.local()

    def note_call(module: nn.Module, args: tuple, kwargs: dict, result: object) -> None:
        if note := getattr(here, "note", None):
            note(modules[module], args[0])

    def note_product(matrix: Tensor, inputs: Tensor) -> None:
        linear = slices.get(matrix.data_ptr())
        if linear is not None and tuple(matrix.shape) == linear.shape:
            here.note(linear.label, inputs)

    @contextmanager
    def noting(note: Note) -> Iterator[None]:
        here.note = note
        try:
            with watching_products(note_product) if slices else nullcontext():
                yield
        finally:
            here.note = None

    with hooked(list(modules), note_call):
        yield noting
