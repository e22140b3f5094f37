"""The layers of a model as addresses and pictures number them, and one of them as pictures draw it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pages.ui.pictures.measured import Cell, Perplexity
from pages.ui.pictures.wire import pack_curve

if TYPE_CHECKING:
    from sds_core.runs.layer_numbers import LayerNumbers


@dataclass(frozen=True)
class Model:
    """The layers of a model: how many blocks, and the linears in each."""

    blocks: int
    linears: tuple[str, ...]

    def at(self, at: int) -> tuple[int, str]:
        """Return block and linear of a layer's number."""
        return at // len(self.linears), self.linears[at % len(self.linears)]

    def number(self, layer: str) -> int | None:
        """Return the number of a layer in an address, such as 3.mlp.up_proj; None if there is none."""
        block, _, linear = layer.partition(".")
        number = int(block) if block.isascii() and block.isdigit() and len(block) < 6 else self.blocks
        return number * len(self.linears) + self.linears.index(linear) if self._has(number, linear) else None

    def address(self, at: object) -> str | None:
        """Return the address of a layer that was picked; None if there is no such layer."""
        if not isinstance(at, int) or not 0 <= at < self.blocks * len(self.linears):
            return None
        block, linear = self.at(at)
        return f"{block}.{linear}"

    def _has(self, block: int, linear: str) -> bool:
        return block < self.blocks and linear in self.linears


def cell(
    layer: LayerNumbers | None,
    done: int,
    perplexity: Perplexity | None = None,
    same: str | None = None,
    why: str | None = None,
) -> Cell:
    """Return a layer's numbers as pictures draw them; the other arguments are those of `Cell`."""
    if layer is None:
        return Cell(done, perplexity=perplexity, same=same, why=why)
    return Cell(
        done,
        curve=pack_curve(layer.density),
        zeros=layer.zeros,
        near_zero=layer.near_zero,
        loss=layer.loss,
        mask_changed=layer.mask_changed,
        perplexity=perplexity,
        same=same,
        why=why,
    )


def round_number(asked: str) -> int:
    """Return the round in an address; 0 if it is not a number."""
    return int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 6 else 0
