"""Compare: which run is better, how certain that is, on which windows of text, and where in the model it comes from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pages.ui.pictures import component
from pages.ui.pictures.wire import Packed, wire


@dataclass(frozen=True)
class Run:
    """A run, or the runs of one configuration that differ in their seed.

    Attributes:
        color: a name of `sds_core.figures.palette`.
        value, ratio: perplexity of its last model, and × dense; the mean over seeds where there are several.
        losses: by window, `pack_values`, in one order for all runs; the mean over seeds.
        seeds: the perplexity of each seed, where there are several.
        map: output error of every layer, `pack_values`, block by block.
    """

    key: str
    name: str
    color: str
    value: float
    ratio: float
    losses: Packed
    origin: str | None = None
    seeds: tuple[float, ...] | None = None
    map: Packed | None = None


@dataclass(frozen=True)
class Pair:
    """A run against another on the same windows.

    Attributes:
        log, error: the mean of the windows' loss differences, and its standard error, that of seeds included.
        ratio, low, high: of perplexities, and two standard errors to either side.
        sure: whether 1 lies outside, and the spread over seeds is known.
        doubt: replaces "undecided".
        lower: windows on which the first run's loss is lower.
        loose_error, loose_low, loose_high: the same as if each run had read windows of its own.
        window_error: without the spread of seeds, where there are several.
        layers_lower: layers in which the first run's output error is lower.
    """

    log: float
    error: float
    ratio: float
    low: float
    high: float
    sure: bool
    lower: int
    loose_error: float
    loose_low: float
    loose_high: float
    window_error: float | None = None
    layers_lower: int | None = None
    doubt: str | None = None


@dataclass(frozen=True)
class Dense:
    """The dense model on the same windows."""

    value: float
    losses: Packed


@dataclass(frozen=True)
class Answer:
    """The answer in words; `verdict` comes in bold before `detail`, such as "Clearly,"."""

    headline: str
    detail: str
    verdict: str | None = None


@dataclass(frozen=True)
class View:
    """The selection; a pick brings these names. `a` is the row clicked, `ref` the one pinned, `at` a layer or −1."""

    runs: tuple[str, ...]
    ref: str
    a: str
    at: int


@dataclass(frozen=True)
class Compare:
    """The numbers of Compare.

    Attributes:
        runs: all that are offered.
        rows: keys of those compared, best first.
        ref, a: keys of the reference and of the row that is looked at, where nothing is pinned or clicked.
        pairs: by run and reference; a pair that cannot be made is left out.
        unpaired: why, in the same form.
        about: pattern, text and windows, and how many of the chosen runs are compared where that is not all.
        most: how many can be compared at once.
        no_map: why there is no map.
        map_note: what to keep in mind about it.
    """

    view: View
    runs: tuple[Run, ...]
    rows: tuple[str, ...]
    ref: str
    a: str
    pairs: dict[str, dict[str, Pair]]
    unpaired: dict[str, dict[str, str]]
    dense: Dense
    answer: Answer
    about: str
    windows: int
    blocks: int
    linears: tuple[str, ...]
    most: int
    no_map: str | None = None
    map_note: str | None = None
    present: bool = False


def mount(
    data: Compare,
    *,
    key: str,
    on_pick: Callable[[component.Pick], None],
    on_open: Callable[[component.Pick], None],
) -> None:
    """Draw Compare.

    Args:
        on_open: called with `run` and `at` when a layer is to be opened.
    """
    component.mount("compare", wire(data), key=key, on_pick=on_pick, open=on_open)
