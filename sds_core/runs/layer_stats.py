"""The record of every layer: distributions on fixed edges, statistics, losses, changed masks. Parquet files."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from sds_core.errors import SDSError
from sds_core.files import write_atomically
from sds_core.pruning.bins import CORNER
from sds_core.pruning.distribution import (
    histogram,
    joint_histogram,
    mask_change,
    mask_crop,
    statistics,
    weight_corner,
)
from sds_core.pruning.stages import Stage

if TYPE_CHECKING:
    from sds_core.layer_result import LayerResult

NOTHING = float("nan")


@dataclass(frozen=True, kw_only=True)
class LayerRow:
    """One layer at one stage, or at one recorded round of phase 2. Numbers are NaN where they mean nothing."""

    block: int
    linear: str
    """Its name within the block."""
    name: str
    """Its name within the model."""
    columns: int
    """Number of inputs."""
    dense_std: float
    """Standard deviation of the dense weight, the unit of the histograms."""
    stage: Stage | Literal["pruned"]
    """A round of phase 2 has two rows: `redense`, free to move, and `pruned`, that weight pruned."""
    round: int
    """0 for the stage itself."""
    counts: list[int]
    below: int
    above: int
    zeros: int
    """These four as in `Histogram`."""
    std: float
    kurtosis: float
    near_zero: float
    sparsity: float
    """These four as in `Statistics`."""
    loss: float
    """Output error relative to the dense output's energy, on the calibration windows."""
    held_out: float
    """The same on windows that no solver has seen; stages only."""
    prune_energy: float
    """Share of the dense output's energy that Wanda's prune of this weight would remove; stages without a mask only."""
    mask_changed: float
    """Share of the first prune's kept weights that are not kept here."""
    joint: list[int] | None = None
    """Where the dense weights have gone (`joint_histogram`); stages only."""
    crop: list[int] | None = None
    """A corner of the first mask and this one (`mask_crop`)."""
    corner: list[int] | None = None
    """A corner of the weight (`weight_corner`); stages only."""
    norms: list[float] | None = None
    """Norms of the corner's inputs (`Gram.norms`) as this pass observed them; stages only."""


def rows(solved: "LayerResult") -> list[LayerRow]:
    """Return a row for each stage of a layer, and two for each recorded round of phase 2."""
    dense = solved.problem.weight
    dense_std = float(dense.std(correction=0))
    norms = solved.problem.gram.norms[:CORNER].tolist()
    losses: dict[int, Callable[[], float]] = {id(one.dense): partial(getattr, one, "loss") for one in solved.rounds}
    losses[id(dense)] = lambda: 0.0
    known: dict[int, dict[str, Any]] = {}  # the last round's weight is the stage `redense` itself: measured once

    def row(stage: Stage | Literal["pruned"], weight: Tensor, mask: Tensor | None = None, number: int = 0) -> LayerRow:
        if id(weight) not in known:
            numbers = vars(histogram(weight, dense_std)) | vars(statistics(weight, dense_std, mask))
            known[id(weight)] = numbers | {
                "loss": losses[id(weight)]() if id(weight) in losses else solved.problem.loss(weight),
                "prune_energy": NOTHING if mask is not None or number else _prune_energy(solved, weight),
                "mask_changed": NOTHING if mask is None else mask_change(solved.sparse.mask, mask),
                "held_out": _held_out(solved, stage, weight) if not number else NOTHING,
            }
        return LayerRow(
            block=solved.linear.block,
            linear=solved.linear.label,
            name=solved.linear.name,
            columns=dense.shape[1],
            dense_std=dense_std,
            stage=stage,
            round=number,
            **known[id(weight)],
            joint=None if number or stage == "dense" else joint_histogram(dense, weight, dense_std),
            crop=None if mask is None else mask_crop(solved.sparse.mask, mask),
            corner=None if number else weight_corner(weight, dense_std),
            norms=None if number else norms,
        )

    found = [row("dense", dense)] if solved.stages.sparse else []
    found += [row(*stage) for stage in solved.stages]
    for one in solved.rounds:
        found.append(row("redense", one.dense, number=one.number))
        found.append(row("pruned", one.sparse.weight, one.sparse.mask, one.number))
    return found


def _held_out(solved: "LayerResult", stage: str, weight: Tensor) -> float:
    if solved.held_out is None:
        return NOTHING
    return 0.0 if stage == "dense" else solved.held_out.loss(weight)


def _prune_energy(solved: "LayerResult", weight: Tensor) -> float:
    scaled = (weight * solved.problem.gram.scale).abs()
    return solved.problem.energy(weight * ~solved.pattern.mask(scaled, "row"))


_PLAIN: dict[Any, pa.DataType] = {int: pa.int64(), float: pa.float64()}
_LISTS = {"counts": pa.int32(), "joint": pa.int32(), "crop": pa.uint8(), "corner": pa.int8(), "norms": pa.float32()}
SCHEMA = pa.schema(
    (one.name, pa.list_(_LISTS[one.name]) if one.name in _LISTS else _PLAIN.get(one.type, pa.string()))
    for one in fields(LayerRow)
)
"""A column for each field."""


def save(path: Path, block_rows: list[LayerRow]) -> None:
    """Write a block's rows."""
    table = pa.Table.from_pylist([vars(row) for row in block_rows], schema=SCHEMA)
    # Small counts in wide integers: split into their bytes they compress to a little over half.
    split = {f"{name}.list.element": "BYTE_STREAM_SPLIT" for name in ("counts", "joint")}
    write_atomically(
        path,
        lambda temporary: pq.write_table(
            table,
            temporary,
            compression="zstd",
            compression_level=9,
            use_dictionary=[name for name in SCHEMA.names if SCHEMA.field(name).type == pa.string()],
            column_encoding=split,
            write_statistics=False,
        ),
    )


def load(folder: Path) -> pd.DataFrame:
    """All rows of a run so far, a stage's latest where it was computed twice.

    Raises:
        SDSError: a file is broken.
    """
    frames = []
    for path in sorted((folder / "distributions").glob("*.parquet"), key=lambda p: p.stat().st_mtime_ns):
        try:
            frames.append(pd.read_parquet(path))
        except (OSError, ValueError) as error:
            raise SDSError(f"the distributions in {path} are broken: {error}") from error
    if not frames:
        return pd.DataFrame()
    together = pd.concat(frames, ignore_index=True)
    return together.drop_duplicates(["block", "linear", "stage", "round"], keep="last").reset_index(drop=True)


def pack(mask: Tensor) -> Tensor:
    """A mask (R, C) as bits in uint8 (⌈R·C / 8⌉,)."""
    bits = mask.flatten().to(torch.uint8)
    bits = torch.nn.functional.pad(bits, (0, -len(bits) % 8)).view(-1, 8)
    return (bits << torch.arange(8, dtype=torch.uint8)).sum(dim=1, dtype=torch.uint8)


def unpack(bits: Tensor, shape: tuple[int, int]) -> Tensor:
    """The inverse of `pack`."""
    flat = ((bits[:, None] >> torch.arange(8, dtype=torch.uint8)) & 1).flatten()
    return flat[: shape[0] * shape[1]].view(shape).bool()
