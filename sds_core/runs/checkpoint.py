"""A stage's weights of one block as a file; only files whose SHA-256 is in the record count."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from sds_core.errors import SDSError
from sds_core.models.cache import file_sha256
from sds_core.models.linear import Linear
from sds_core.models.structure import Block
from sds_core.models.tensor_files import save_tensors
from sds_core.pruning.layer_problem import Pruned
from sds_core.pruning.stages import Stage
from sds_core.runs.run_folder import Run


def packed_mask(mask: Tensor) -> Tensor:
    """Return a mask (R, C) as it is stored: bits in uint8 (⌈R·C / 8⌉,), on the CPU."""
    bits = mask.flatten().to(torch.uint8)
    bits = torch.nn.functional.pad(bits, (0, -len(bits) % 8)).view(-1, 8)
    return (bits << torch.arange(8, dtype=torch.uint8, device=bits.device)).sum(dim=1, dtype=torch.uint8).cpu()


def unpacked_mask(bits: Tensor, shape: tuple[int, int]) -> Tensor:
    """Return the inverse of `packed_mask`."""
    flat = ((bits[:, None] >> torch.arange(8, dtype=torch.uint8)) & 1).flatten()
    return flat[: shape[0] * shape[1]].view(shape).bool()


def packed(block: Block, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a block as it is stored: its weights as the model has them, and `packed_mask`s by layer."""
    weights = {f"{linear.label}.weight": linear.weight.contiguous() for linear in block.linears}
    return weights | {f"{label}.mask": mask for label, mask in masks.items()}


def save(run: Run, stage: Stage, block: Block, tensors: dict[str, Tensor]) -> str:
    """Write a `packed` block; returns the file's SHA-256."""
    path = run.checkpoint(stage, block.index)
    run.make_folder(path.parent.name)
    save_tensors(path, tensors)
    return file_sha256(path)


def load_recorded(path: Path, sha256: str | None) -> dict[str, Tensor]:
    """Return a run's tensors from a file.

    Raises:
        SDSError: the file is gone, or not the one whose SHA-256 is in the record.
    """
    try:
        if file_sha256(path) != sha256:
            raise SDSError(f"{path} is not what was written", cure="the disk is at fault: delete this run, repeat it")
        return load_file(path)
    except FileNotFoundError:
        raise SDSError(f"the weights in {path} are gone", cure="repeat the run, keeping its weights") from None
    except SafetensorError as error:
        raise SDSError(f"the weights in {path} are broken: {error}", cure="repeat the run") from error


class Checkpoints:
    """A run's stored stages: the `PriorResults` of a pass that leaves `stage`."""

    def __init__(self, run: Run, stage: Stage):
        self._run, self._stage = run, stage
        self._sums: dict[Stage, dict[int, str]] = {}
        self._open: dict[Stage, tuple[int, dict[str, Tensor]]] = {}
        self._sums[stage] = done = run.checkpoints(stage)
        self.finished = next(i for i in range(len(done) + 1) if i not in done)

    def restore(self, block: Block) -> None:
        """Write the stage's weights of a block into the model."""
        for linear in block.linears:
            linear.write(self._load(self._stage, block.index)[f"{linear.label}.weight"])

    def sparse(self, linear: Linear) -> Pruned:
        """Phase 1's weight and mask."""
        return self.pruned("sparse", linear)

    def redense(self, linear: Linear) -> Tensor:
        """Phase 2's weight."""
        return self._load("redense", linear.block)[f"{linear.label}.weight"].float()

    def pruned(self, stage: Stage, linear: Linear) -> Pruned:
        """A stage's weight and mask."""
        tensors = self._load(stage, linear.block)
        mask = unpacked_mask(tensors[f"{linear.label}.mask"], linear.shape)
        return Pruned(tensors[f"{linear.label}.weight"].float(), mask)

    def _recorded(self, stage: Stage, block: int) -> str | None:
        """The recorded digest of a block's file; the record is read again for one that was not in it."""
        if block not in self._sums.get(stage, {}):
            self._sums[stage] = self._run.checkpoints(stage)
        return self._sums[stage].get(block)

    def _load(self, stage: Stage, block: int) -> dict[str, Tensor]:
        """A block's file, the last one of each stage being kept open.

        Raises:
            SDSError: the file is gone or not the one in the record.
        """
        if self._open.get(stage, (-1,))[0] != block:
            path = self._run.checkpoint(stage, block)
            self._open[stage] = (block, load_recorded(path, self._recorded(stage, block)))
        return self._open[stage][1]
