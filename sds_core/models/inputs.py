"""The inputs of a block's linears while the block runs, of modules and experts alike."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor, nn

from sds_core.models.linear import Linear
from sds_core.models.products import watching_products
from sds_core.models.structure import hooked


@contextmanager
def watching_inputs(block: nn.Module, linears: Sequence[Linear], note: Callable[[str, Tensor], None]) -> Iterator[None]:
    """Call `note(label, inputs)` with the inputs (..., N, C) of each call of a linear inside the `with`.

    Args:
        block: the linears' own block or a copy of it, whose parameters stay where they are inside the `with`.
        linears: of the block.
        note: may raise to end the forward pass.
    """
    modules = {block.get_submodule(linear.owner): linear.label for linear in linears if linear.expert is None}
    slices = {
        block.get_parameter(linear.place).data[linear.expert].data_ptr(): linear
        for linear in linears
        if linear.expert is not None
    }

    def note_call(module: nn.Module, args: tuple, kwargs: dict, result: object) -> None:
        if args[0].numel():  # some families call an expert that no token was sent to
            note(modules[module], args[0])

    def note_product(matrix: Tensor, inputs: Tensor) -> None:
        linear = slices.get(matrix.data_ptr())
        if linear is not None and tuple(matrix.shape) == linear.shape:
            note(linear.label, inputs)

    with hooked(list(modules), note_call):
        if not slices:
            yield
            return
        with watching_products(note_product):
            yield
