"""A row of a run's distributions: one layer at one stage or round."""

from dataclasses import dataclass

from sds_core.pruning.stages import RecordedStage


@dataclass(frozen=True, kw_only=True)
class LayerRow:
    """One layer at one stage, or at one recorded round of phase 2. Numbers that are not defined are NaN."""

    block: int
    linear: str
    """Its name within the block."""
    name: str
    """Its name within the model."""
    columns: int
    """Number of inputs."""
    dense_std: float
    """Standard deviation of the dense weight, the unit of the histograms."""
    stage: RecordedStage
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
    """Output error ‖(V − W) X‖² / ‖W X‖² on the calibration windows, whatever part of the target is the teacher's."""
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
