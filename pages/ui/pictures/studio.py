"""The Studio: phase strip, model map, one layer's distributions by stage and run, rounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pages.ui.pictures import component
from pages.ui.pictures.measured import Cell, Change, Perplexity, Round, Stage
from pages.ui.pictures.wire import Packed, wire


@dataclass(frozen=True)
class RunColumn:
    """A run, as a column of the grid.

    Attributes:
        key: sent back in a pick.
        name: of the method, or of the base pruner in a phase-1 run.
        color: a name of `sds_core.figures.palette`.
        cells: by stage; a phase-1 run has `sparse` alone.
        base: key of the run it starts from; None in a phase-1 run, and for a checkpoint that was pruned elsewhere.
        origin: name of that run.
        change: final against the base pruner.
        then: the model as it is distilled afterwards, if that was asked for.
    """

    key: str
    name: str
    color: str
    cells: dict[Stage, Cell]
    base: str | None = None
    origin: str | None = None
    change: Change | None = None
    then: Distilled | None = None


@dataclass(frozen=True)
class Distilled:
    """A run's model, distilled as a whole after its phases.

    Attributes:
        done, of: steps; both 0 before the first.
        seen, held_out: `pack_values` of the divergence from the dense model by step, nats a token.
        change: against the same model before.
        why: why there is no perplexity.
    """

    done: int
    of: int
    seen: Packed
    held_out: Packed
    perplexity: Perplexity | None = None
    change: Change | None = None
    why: str | None = None


@dataclass(frozen=True)
class Layer:
    """Which layer the numbers belong to, `block × linears + linear`, and its dense weights.

    Attributes:
        low, high: σ at the first and last point of every curve.
        std: the dense σ; None while the dense layer is being read, as its curve is.
    """

    at: int
    low: float
    high: float
    dense: Cell
    std: float | None = None


@dataclass(frozen=True)
class ModelMap:
    """One quantity of every layer, of one run and stage.

    Attributes:
        top: the largest of that quantity over all runs and stages.
        values: `pack_values`, block by block; None where there is no run.
        rounds: the same by round, where rounds are recorded.
    """

    stage: Stage
    quantity: str
    top: float
    run: str | None = None
    values: Packed | None = None
    rounds: dict[int, Packed] | None = None


@dataclass(frozen=True)
class Quantity:
    """A quantity the map can show; `roots`: its colours go by the square root."""

    key: str
    name: str
    about: str
    available: bool = True
    roots: bool = True


@dataclass(frozen=True)
class Rounds:
    """The rounds of one run, the last of them its end."""

    run: str
    list: tuple[Round, ...]


@dataclass(frozen=True)
class Working:
    """The phase that is running; `doing` is said after "15 of 30 ·", as "gate_proj, 11 s left"."""

    run: str
    stage: Literal[Stage, "distilled"]
    doing: str


@dataclass(frozen=True)
class View:
    """The selection; a pick brings the same names."""

    run: str
    stage: str
    at: int
    quantity: str
    round: int
    follow: bool


@dataclass(frozen=True)
class Studio:
    """The Studio's numbers.

    Attributes:
        live: offer to follow the newest block.
        dense: perplexity of the dense model.
        no_rounds: why there are none to play.
        present: 20 px type.
    """

    view: View
    blocks: int
    linears: tuple[str, ...]
    quantities: tuple[Quantity, ...]
    layer: Layer
    map: ModelMap
    runs: tuple[RunColumn, ...]
    dense: Perplexity | None = None
    rounds: Rounds | None = None
    no_rounds: str | None = None
    working: Working | None = None
    live: bool = False
    present: bool = False


def mount(
    data: Studio,
    *,
    key: str,
    on_pick: Callable[[component.Pick], None],
    on_details: Callable[[component.Pick], None] | None = None,
) -> None:
    """Draw the Studio.

    Args:
        on_details: called with the view when the layer's details are asked for.
    """
    component.mount("studio", wire(data), key=key, on_pick=on_pick, details=on_details or (lambda view: None))
