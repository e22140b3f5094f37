"""The example on the app's first page: one layer's weights and the model's perplexity, dense, sparse, re-dense, final.

It is read from the packed examples as they are, and importing this module stays cheap: the first page needs no torch.
"""

import zipfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from sds_core.errors import SDSError
from sds_core.files import BROKEN_ZIP
from sds_core.lesson.curves import curve
from sds_core.pruning.bins import weights_counted
from sds_core.pruning.stages import LAYER_STAGES, LayerStage, Stage
from sds_core.pruning.titles import BASE
from sds_core.runs import typed_json
from sds_core.runs.job_folder import RESULT
from sds_core.runs.recorded_values import MeasuredPerplexity
from sds_core.runs.run_folder import CONFIG
from sds_core.runs.run_result import RunResult

FOLDER = Path(__file__).parents[1] / "assets" / "examples"
"""`runs.examples.FOLDER`, whose module needs torch."""
METHOD, PRUNER = "sds", "wanda"
BLOCK, LINEAR = 1, "mlp.up_proj"
"""The layer that is drawn: an early one, whose four stages differ at a glance."""


@dataclass(frozen=True)
class Layer:
    """The layer at one stage."""

    curve: list[float]
    """Its density, as `lesson.curves` draws it."""
    zeros: float
    """Share of its weights."""


@dataclass(frozen=True)
class Opening:
    """One example by stage."""

    layers: dict[LayerStage, Layer]
    """The layer at all four stages."""
    perplexity: dict[Stage, MeasuredPerplexity]
    """Of the whole model, where it was measured; that of the dense model always was."""


def read_opening(folder: Path) -> Opening | None:
    """Return the example of method `METHOD` from `PRUNER`, gathered from the packed runs of its phases.

    Args:
        folder: of the packed examples.

    Returns:
        None where the example, or a stage of its layer, is not among them.

    Raises:
        SDSError: a packed run is broken.
    """
    packed: list[tuple[int, dict[LayerStage, Layer], RunResult]] = []
    for path in sorted(folder.glob("*.zip")):
        try:
            with zipfile.ZipFile(path) as archive:
                if (phase := _phase(archive)) is not None:
                    packed.append((phase, *_read(archive)))
        except (OSError, KeyError, *BROKEN_ZIP) as error:
            raise SDSError(f"the example {path.name} is broken: {error}") from error
    layers: dict[LayerStage, Layer] = {}
    perplexity: dict[Stage, MeasuredPerplexity] = {}
    for _, found, result in sorted(packed, key=lambda entry: entry[0]):
        layers |= found
        perplexity |= result.perplexity
    return Opening(layers, perplexity) if layers.keys() == set(LAYER_STAGES) else None


def _phase(archive: zipfile.ZipFile) -> int | None:
    """Return the phase of a run that belongs to the example, the base pruner's first; None of another run."""
    config: Any = typed_json.load(archive.read(_named(archive, f"/{CONFIG}")[0]))
    if config["pruner"] != PRUNER or config["method"] not in (BASE, METHOD):
        return None
    return -1 if config["method"] == BASE else config["phase"]


def _read(archive: zipfile.ZipFile) -> tuple[dict[LayerStage, Layer], RunResult]:
    """Return the layer's recorded stages and the result of a packed run."""
    layers: dict[LayerStage, Layer] = {}
    for name in _named(archive, f"-{BLOCK:03}.parquet"):
        layers |= _layers(archive.read(name))
    return layers, RunResult.parse(archive.read(_named(archive, f"/{RESULT}")[0]).decode())


def _named(archive: zipfile.ZipFile, end: str) -> list[str]:
    found = [name for name in archive.namelist() if name.endswith(end)]
    if not found:
        raise KeyError(f"there is no {end.strip('-/')} in it")
    return found


def _layers(parquet: bytes) -> dict[LayerStage, Layer]:
    """Return the layer at the stages that a block's distributions record; pandas would take a second to import."""
    from pyarrow.parquet import ParquetFile

    columns = ["linear", "stage", "round", "counts", "below", "above", "zeros"]
    found: dict[LayerStage, Layer] = {}
    for row in ParquetFile(BytesIO(parquet)).read(columns=columns).to_pylist():
        if row["linear"] == LINEAR and row["round"] == 0:
            total = weights_counted(row["counts"], row["below"], row["above"], row["zeros"])
            found[row["stage"]] = Layer(curve(row["counts"], total), row["zeros"] / total)
    return found
