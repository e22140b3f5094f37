"""Inspect a checkpoint that was pruned elsewhere against its dense model; nothing is solved."""

from dataclasses import replace

import torch
from torch import Tensor

from sds_core.errors import SDSError
from sds_core.models.exclude import exclude_layers
from sds_core.models.find_model import find_model
from sds_core.models.linear import Linear
from sds_core.models.load import LoadedModel, load_model
from sds_core.models.structure import ModelStructure, find_blocks
from sds_core.options import Overrides
from sds_core.pruning.layer_problem import Pruned
from sds_core.pruning.pattern import NM, Pattern, find_pattern, holds
from sds_core.pruning.registry import NO_PRUNER
from sds_core.pruning.titles import CHECKPOINT
from sds_core.runs.config import RunConfig

BY_CHANCE = 0.01
"""A layer with a smaller share of zeros counts as dense: rounding leaves some in any model."""
FILES = "checkpoint/"
"""Prefix of the checkpoint's file names in the record, which also lists the dense model's files."""


class ExternalCheckpoint:
    """The checkpoint beside the dense model whose pruned copy it is.

    Args:
        folder: the checkpoint, as `load_model` takes it.
        dense: the dense model.
        structure: its prunable layers.
        dtype: precision of the checkpoint, as `load_model` takes it.

    Raises:
        SDSError: it cannot be loaded, is the dense model itself, is of another architecture, or nothing in it is
            pruned.
    """

    def __init__(self, folder: str, dense: LoadedModel, structure: ModelStructure, dtype: str = "auto"):
        self.loaded = load_model(folder, dtype)
        own, base = self.loaded.model.state_dict(), dense.model.state_dict()
        if self.loaded.folder == dense.folder:
            raise SDSError("the checkpoint is the dense model itself", got=folder, cure="name two folders")
        self._refuse_other_shapes(folder, own, base)
        self.structure = find_blocks(self.loaded.model)
        self._linears = {
            linear.name: replace(linear, module=linear.module_in(self.loaded.model))
            for block in structure.blocks
            for linear in block.linears
        }
        if not (masks := self.pruned_layers()):
            raise self._nothing_pruned(folder)
        if not any(mask.any() for mask in masks.values()):
            raise SDSError(
                f"all pruned layers of {folder} are zero as a whole, first {next(iter(masks))}",
                cure="only layers that keep some of their weights can be inspected",
            )
        layers = {linear.parameter_name for linear in self._linears.values()}
        self.other_differing_tensors = [
            name for name in base if name not in layers and not _same(own[name], base[name])
        ]
        """Tensors outside the prunable layers that differ from the dense model's."""

    def _nothing_pruned(self, folder: str) -> SDSError:
        """Return the error for a checkpoint whose prunable layers are dense, with the zeros that are elsewhere."""
        named = self.loaded.model.named_parameters()
        shares = {name: float((p == 0).float().mean()) for name, p in named if p.ndim > 1}
        zeros = [f"{name} ({share:.2%})" for name, share in shares.items() if share >= BY_CHANCE]
        few = f"has {BY_CHANCE:.0%} zeros among its weights"
        if not zeros:
            return SDSError(
                f"nothing in {folder} is pruned: no layer {few}",
                cure="name the pruned checkpoint first and its dense model after --dense",
            )
        share = self.structure.count_zeros() / self.structure.total
        some = ", ".join(zeros[:3]) + (" …" if len(zeros) > 3 else "")
        return SDSError(
            f"{share:.2%} of all weights of {folder} are zero, but no prunable layer {few}: the zeros are in {some}",
            cure="only layers inside the blocks can be inspected, not embeddings, heads or routers",
        )

    @staticmethod
    def _refuse_other_shapes(folder: str, own: dict[str, Tensor], base: dict[str, Tensor]) -> None:
        for name in [*base, *own]:
            shapes = [tuple(side[name].shape) if name in side else None for side in (own, base)]
            if shapes[0] != shapes[1]:
                first, second = (f"is {shape}" if shape else "is missing" for shape in shapes)
                raise SDSError(
                    f"{folder} is not a pruned copy of this model: its {name} {first}, the dense model's {second}"
                )

    def given(self, linear: Linear) -> Pruned:
        """The checkpoint's weight and mask (R, C) of a layer: what is exactly zero is pruned."""
        weight = self._linears[linear.name].read()
        return Pruned(weight, weight != 0)

    def pruned_layers(self) -> dict[str, Tensor]:
        """Masks (R, C) of the layers in which something was pruned, by name."""
        masks = {name: linear.weight != 0 for name, linear in self._linears.items()}
        return {name: mask for name, mask in masks.items() if float((~mask).float().mean()) >= BY_CHANCE}

    @property
    def sha256(self) -> dict[str, str]:
        """Digests of its files, by names that differ from the dense model's."""
        return {FILES + name: sha256 for name, sha256 in self.loaded.sha256.items()}

    def refuse_other(self, pattern: Pattern) -> None:
        """Refuse a pattern that the checkpoint does not hold.

        Raises:
            SDSError: the checkpoint holds another.
        """
        masks = list(self.pruned_layers().values())
        broken = not holds(masks, pattern) if isinstance(pattern, NM) else find_pattern(masks) != pattern
        if broken:
            raise SDSError(
                f"the checkpoint does not hold the pattern {pattern}",
                cure=f"take the one it holds: --pattern {find_pattern(masks)}",
            )


def _same(one: Tensor, other: Tensor) -> bool:
    return torch.equal(one.to(other.dtype), other)


def external_config(folder: str, dense: str, values: Overrides) -> RunConfig:
    """Return the configuration that inspects a checkpoint, with the pattern of its pruned layers.

    Args:
        folder: the checkpoint.
        dense: its dense model.
        values: other options of the run.

    Raises:
        SDSError: as for `ExternalCheckpoint`.
    """
    fixed: Overrides = {"model": dense, "checkpoint": folder, "method": CHECKPOINT, "pruner": NO_PRUNER}
    fixed |= {"weights": "memory", "keep_weights": False}
    config = RunConfig.from_dict(values | fixed)
    find_model(folder)  # report a mistyped name before loading the dense model
    loaded = load_model(dense, config.dtype)
    external = ExternalCheckpoint(
        folder, loaded, exclude_layers(find_blocks(loaded.model), config.exclude.split()), config.dtype
    )
    pattern = find_pattern(list(external.pruned_layers().values()))
    return RunConfig.from_dict(values | fixed | {"pattern": str(pattern)})
