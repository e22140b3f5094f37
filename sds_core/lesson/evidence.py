"""The finished runs from which the Walk takes its answers."""

from dataclasses import dataclass

import pandas as pd

from sds_core.comparison.claims import Claim
from sds_core.comparison.compare import Row, side_by_side
from sds_core.comparison.outcomes import outcomes_of
from sds_core.comparison.references import claim
from sds_core.figures.layer import size
from sds_core.lesson.opening import BLOCK, LINEAR
from sds_core.runs.run_folder import Run

NAMES = {
    "base-wanda": "Wanda alone",
    "base-sparsegpt": "SparseGPT alone",
    "sds-wanda": "SDS (from Wanda)",
    "sds-admm-wanda": "SDS with a memory, SDS-ADMM (from Wanda)",
}
"""The shipped examples that the Walk needs, with their names there."""
RUNS = tuple(NAMES)


@dataclass(frozen=True, eq=False)
class Evidence:
    """Some of the examples with their layer statistics."""

    runs: dict[str, Run]
    layer_stats: dict[str, pd.DataFrame]

    def layer(self, name: str) -> pd.DataFrame:
        """The statistics of the layer in the pictures, that of the first page, the same in every run."""
        stats = self.layer_stats[name]
        return stats[(stats["block"] == BLOCK) & (stats["linear"] == LINEAR)]

    def stage(self, name: str, stage: str, number: int = 0) -> pd.Series:
        """The statistics of this layer at one stage, or in one round."""
        layer = self.layer(name)
        return layer[(layer["stage"] == stage) & (layer["round"] == number)].iloc[-1]

    def share(self, name: str, column: str, stage: str, number: int = 0) -> float:
        """A share of all weights of the model: the layers' shares, weighted by their sizes."""
        stats = self.layer_stats[name]
        rows = stats[(stats["stage"] == stage) & (stats["round"] == number)]
        sizes = rows.apply(size, axis=1)
        return float((rows[column] * sizes).sum() / sizes.sum())

    def rows(self, *names: str) -> list[Row]:
        """The runs as rows of a comparison, with references among the examples alone.

        Raises:
            SDSError: they were not measured on the same windows of one text.
        """
        return side_by_side([self.runs[name] for name in names], outcomes_of(self.runs.values()))

    def claim(self, mine: Row, reference: Row) -> Claim:
        """How one example compares to another."""
        return claim([mine.outcome], [reference.outcome], outcomes_of(self.runs.values()))


def name_of_layer(layer: pd.DataFrame) -> str:
    """The layer's name in a sentence."""
    return f"block {int(layer['block'].iloc[0])} · {layer['linear'].iloc[0].rpartition('.')[2]}"
