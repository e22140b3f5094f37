"""Prune from Python: a run as one function, for notebooks and scripts.

It does what the command line does: a configuration, a run folder, and `run_job`.
"""

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sds_core.errors import Cancelled, SDSError
from sds_core.figures import layer as layer_figures
from sds_core.figures.error_map import error_map
from sds_core.figures.style import Figure
from sds_core.files import user_path
from sds_core.models.gguf_files import DEMO
from sds_core.options import options_of
from sds_core.pruning.stages import STAGE_NAMES
from sds_core.runs import layer_stats, lock
from sds_core.runs.config import RunConfig
from sds_core.runs.device_queue import device_to_itself
from sds_core.runs.events import BlockFinished, DistillationStep, Event, JobCancelled, JobFailed, Measuring
from sds_core.runs.model_cache import ModelCache
from sds_core.runs.new_run import create
from sds_core.runs.plugins import load_registry
from sds_core.runs.progress import PHASE_NAMES
from sds_core.runs.pruned_model import pruned_model
from sds_core.runs.run_folder import Run
from sds_core.runs.run_result import RunResult
from sds_core.runs.worker import until_cancelled

if TYPE_CHECKING:
    import plotly.graph_objects as go

LoadedPair = tuple[PreTrainedModel, PreTrainedTokenizerBase]


@dataclass(frozen=True, eq=False, kw_only=True)
class PrunedModel:
    """A pruned model with the record of the run that made it."""

    model: PreTrainedModel
    """On the CPU, in the precision of the run."""
    tokenizer: PreTrainedTokenizerBase
    config: RunConfig
    result: RunResult
    """Perplexities, counts, seconds."""
    layers: pd.DataFrame
    """A row for each layer, stage and recorded round; `loss` is the output error relative to the dense layer."""

    @property
    def perplexity(self) -> pd.DataFrame:
        """Perplexity by stage, its ratio to the dense model's, and the paired standard error of the ratio's log."""
        rows = {
            stage: {"perplexity": found.value, "ratio": found.against_dense.ratio, "log_error": found.error}
            for stage, found in self.result.perplexity.items()
        }
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("stage")

    def error_map(self) -> "go.Figure":
        """Draw the output error of every layer, with the largest framed."""
        layers = self._pruned_layers()
        return _plotly(error_map(layers, _worst(layers)))

    def weights(self, block: int | None = None, linear: str | None = None) -> "go.Figure":
        """Draw the distribution of one layer's weights, stage by stage.

        Args:
            block: number of its block from 0; None for the block of the layer with the largest error.
            linear: its name inside the block, such as `mlp.down_proj`; None for the one with the largest error.

        Raises:
            SDSError: the record holds no such layer.
        """
        layers = self._pruned_layers()
        for column, value in (("block", block), ("linear", linear)):
            if value is not None:
                known = layers[column].unique()
                layers = layers[layers[column] == value]
                if layers.empty:
                    raise SDSError(f"no such {column}", got=value, allowed=", ".join(map(str, known)))
        block, linear = _worst(layers)
        of_layer = (self.layers["block"] == block) & (self.layers["linear"] == linear)
        return _plotly(layer_figures.ridges(self.layers[of_layer]))

    def _pruned_layers(self) -> pd.DataFrame:
        """The rows of the weights that the run ended with, or that were then distilled: of those there are none."""
        last = self.config.one_shot if self.result.last == "distilled" else self.result.last
        return self.layers[(self.layers["stage"] == last) & (self.layers["round"] == 0)]


def prune(model: str | Path | LoadedPair = DEMO, *, runs: str | Path | None = None, **options: Any) -> PrunedModel:
    """Prune a model in this process, showing progress; what is pruned is a copy.

        result = prune("demo", pruner="wanda", method="sds-admm", pattern="2:4", samples=8, length=512)

    Args:
        model: what `--model` takes, or a loaded (model, tokenizer), of which a copy on disk is pruned.
        runs: a folder to keep the run's record and weights in, as command line and app do. Without it nothing is kept
            on disk. The run of a loaded pair can be inspected later, not exported, since its dense copy is deleted.
        **options: options of a run and of its method, named as on the command line with `_` for `-`.

    Raises:
        SDSError: an unknown option, or anything else that ends a run, such as the app's Cancel. A run in `runs` can be
            resumed, unless its model was a loaded pair.
    """
    names = options_of(RunConfig)
    values = {name: value for name, value in options.items() if name in names}
    values["options"] = {name: value for name, value in options.items() if name not in names}
    with tempfile.TemporaryDirectory(prefix="sds-") as folder:
        values["model"] = _save(model, Path(folder) / "model") if isinstance(model, tuple) else str(model)
        config = RunConfig.from_dict(values)
        if not config.keep_weights:
            raise SDSError("prune returns a model, so its weights are kept", got="keep_weights=False")
        if config.weights == "disk":
            what = "prune returns a model in memory, so its weights cannot rest on disk"
            raise SDSError(what, got="weights='disk'", cure="use the command line, and export the run")
        run = create(config, load_registry([config.pruner]), user_path(str(runs or folder)).resolve())
        _work(run)
        loaded, result = pruned_model(run), run.finished_result()
        layers = layer_stats.load(run.folder)
    return PrunedModel(model=loaded.model, tokenizer=loaded.tokenizer, config=config, result=result, layers=layers)


def _save(pair: LoadedPair, folder: Path) -> str:
    for part in pair:
        part.save_pretrained(folder)
    return str(folder)


def _work(run: Run) -> None:
    """Carry out a run in this process, holding its lock and its device."""
    config, log, descriptor = run.config, run.writer(), run.take_lock()
    try:
        lock.note_owner(descriptor)
        waiting = device_to_itself(config.device, run.id, time.time(), log, lambda: run.cancel_requested)
        with _torch_settings(), waiting as now, tqdm(unit="block") as bar:
            now(run.id)
            for event in until_cancelled(run, ModelCache(keep_dense=len(config.phases) > 1)):
                log.append(event)
                _show(bar, event)
    except Exception as error:
        internal, message = not isinstance(error, SDSError), str(error) or repr(error)
        with suppress(SDSError):  # the disk is full: what went wrong first is raised
            cancelled = isinstance(error, Cancelled)
            log.append(JobCancelled(message=message) if cancelled else JobFailed(message=message, internal=internal))
        raise
    finally:
        os.close(descriptor)


@contextmanager
def _torch_settings() -> Iterator[None]:
    """Restore the process's number of threads and matmul precision afterwards: a run sets its own."""
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(precision)


def _show(bar: "tqdm[Any]", event: Event) -> None:
    match event:
        case DistillationStep(step=done, of=of):
            doing, first = PHASE_NAMES["distilled"], done <= 1
        case BlockFinished(phase="distilled"):
            return
        case BlockFinished(phase=phase, block=block, of=of):
            doing, done, first = PHASE_NAMES[phase], block + 1, block == 0
        case Measuring(what="outliers", block=block, of=of):
            doing, done, first = "Outliers of the dense model", block + 1, block == 0
        case Measuring(what=stage, block=block, of=of):
            doing, done, first = f"Perplexity, {STAGE_NAMES[stage]}", block + 1, block == 0
        case _:
            return
    bar.set_description(doing, refresh=False)
    if first:
        bar.reset(of)
    bar.n = done
    bar.refresh()


def _worst(layers: pd.DataFrame) -> tuple[int, str]:
    """Block and linear of the layer with the largest error.

    Raises:
        SDSError: no layer's error is known.
    """
    if layers["loss"].isna().all():
        raise SDSError("the record holds no layer's output error")
    worst = layers.loc[layers["loss"].idxmax()]
    return int(worst["block"]), str(worst["linear"])


def _plotly(figure: Figure) -> "go.Figure":
    import plotly.graph_objects as go  # takes half a second, and only figures need it

    return go.Figure(figure)
