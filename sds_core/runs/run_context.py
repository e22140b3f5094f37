"""All that one run works on: its model and layers, its device, its windows of text."""

from dataclasses import dataclass

import torch
from torch import Tensor

from sds_core.models.calibration import digest
from sds_core.models.load import LoadedModel
from sds_core.models.structure import ModelStructure
from sds_core.runs.config import RunConfig
from sds_core.runs.recorded_values import TextWindows


@dataclass(frozen=True, eq=False, kw_only=True)
class RunContext:
    """One run's own view of a model that it may share with other runs (`ModelCache.context`)."""

    config: RunConfig
    loaded: LoadedModel
    structure: ModelStructure
    """The layers to prune, without those that the run excludes."""
    device: torch.device
    calibration: Tensor
    """Token ids (n, T)."""
    held_out: Tensor
    """Token ids (m, T) of calibration windows that no solver sees."""
    evaluation: Tensor
    """Token ids (k, T')."""
    distillation: Tensor
    """Token ids (n', T) that the model is distilled on, none where it is not; `held_out` ones follow."""

    @property
    def texts(self) -> tuple[TextWindows, TextWindows]:
        """The calibration and the evaluation text as they are used."""
        calibration, evaluation = self.config.texts
        return (
            TextWindows(text=calibration, sha256=digest(self.calibration)),
            TextWindows(text=evaluation, sha256=digest(self.evaluation)),
        )

    @property
    def stage_bytes(self) -> int:
        """Size of one stage's checkpoints: weights in the model's precision, masks in bits."""
        return int(self.structure.prunable * (self.loaded.model.dtype.itemsize + 1 / 8))
