"""The Layer lab: one real layer, shipped, on which every round of the dense phase can be looked at within a second.

The shipped layer is a linear of the demo model with the Gram matrix of its inputs on calibration windows, and another
on windows of the same text that were held out: what a setting gains on the first and not on the second, it overfits.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from sds_core.errors import SDSError
from sds_core.pruning.adjust import solve_kept
from sds_core.pruning.distribution import histogram, mask_change, statistics
from sds_core.pruning.layer_problem import LayerProblem, Pruned
from sds_core.pruning.methods import SDSAdmm
from sds_core.pruning.pattern import Pattern
from sds_core.pruning.redense import admm_rounds, proximal_rounds
from sds_core.pruning.registry import Pruner

ASSET = Path(__file__).parents[1] / "assets" / "lab-layer.safetensors"
LINEAR = "model.layers.8.self_attn.v_proj"
"""Which layer of the demo model is shipped: small enough to answer at once, and it overfits visibly."""
CALIBRATION, HELD_OUT, LENGTH = 8, 64, 512
"""Windows of the two Gram matrices, and tokens in each; the calibration is that of the preset `quick`."""


@dataclass(frozen=True, eq=False)
class LabLayer:
    """One layer as it is shipped."""

    seen: LayerProblem
    """The weight (R, C) with the Gram matrix of the calibration windows."""
    held_out: LayerProblem
    """The same weight with the Gram matrix of other windows, which no step looks at."""
    about: dict[str, str]
    """How it was made: model, layer, text, windows, command."""


def read_lab_layer(path: Path = ASSET) -> LabLayer:
    """Read a layer that `write_lab_layer` has written.

    Raises:
        SDSError: the file is missing or broken.
    """
    try:
        with safe_open(path, "pt") as file:
            about = dict(file.metadata())
            weight, seen, other = (file.get_tensor(name) for name in ("weight", "seen", "held_out"))
    except (OSError, SafetensorError, TypeError) as error:
        cure = f"restore it, or make it again: {_command(path)}"
        raise SDSError(f"the layer in {path} cannot be read: {error}", cure=cure) from None
    name = about.get("layer", "this layer")
    return LabLayer(LayerProblem.from_gram(weight, seen, name), LayerProblem.from_gram(weight, other, name), about)


def write_lab_layer(model: str, name: str, text: str, path: Path) -> Iterator[str]:
    """Watch the inputs of a dense model's linear on calibration and on held-out windows, and store what is needed.

    Yields:
        A line of progress after each of the two, last the file's name.

    Raises:
        SDSError: model or text cannot be had, the model has no such linear, or there is no such folder.
    """
    from sds_core.models.calibration import calibration_windows, digest
    from sds_core.models.device import pick_device
    from sds_core.models.load import load_model
    from sds_core.models.structure import find_blocks

    if not path.parent.is_dir():
        raise SDSError("there is no such folder", got=path.parent)
    loaded = load_model(model, "float32")
    structure = find_blocks(loaded.model)
    linears = {linear.name: linear for block in structure.blocks for linear in block.linears}
    if name not in linears:
        raise SDSError(f"the model {model} has no such linear", got=name, allowed=f"{next(iter(linears))}, …")
    linear = linears[name]
    windows = calibration_windows(loaded, text, CALIBRATION, LENGTH, seed=0, held_out=HELD_OUT)
    parts = {"seen": windows[:CALIBRATION], "held_out": windows[CALIBRATION:]}
    tensors = {"weight": linear.read().half()}
    about = {"model": model, "fingerprint": loaded.fingerprint, "layer": name, "text": text, "command": _command(path)}
    about |= {"torch": torch.__version__, "inputs": "of the dense model"}
    for part, chosen in parts.items():
        tensors[part] = _gram(structure, linear, chosen, pick_device())
        about |= {f"{part} windows": f"{len(chosen)} of {LENGTH} tokens", f"{part} sha256": digest(chosen)}
        yield f"{part}: {chosen.numel():,} tokens"
    partial = path.with_name(f".{path.name}.partial")
    save_file(tensors, partial, metadata=about)
    os.replace(partial, path)
    yield str(path)


def _gram(structure: Any, linear: Any, windows: Tensor, device: torch.device) -> Tensor:
    """H (C, C) of a linear's inputs in the dense model."""
    from sds_core.models.observation import observe
    from sds_core.models.stream import capture

    stream = capture(structure, windows, device)
    for _ in range(linear.block):
        stream.advance()
    observed, _ = observe(stream)
    return observed[linear.input].gram.matrix.cpu()


def _command(path: Path) -> str:
    return "python -m sds_core write-lab-layer" + ("" if path == ASSET else f" --out {path}")


def walk(layer: LabLayer, pruner: Pruner, pattern: Pattern, method: SDSAdmm, memory: bool) -> pd.DataFrame:
    """Prune the layer, go through the rounds of the dense phase, and prune again at every stop.

    Both prunes see the Gram matrix shrunk by the method's α, so that nothing but the dense phase can change the mask.

    Args:
        layer: what to work on.
        pruner: prunes first, and again after every round.
        pattern: what it obeys.
        method: rounds, rho, rho_growth and α; β needs the stream of a whole model and is left out here.
        memory: whether the rounds remember what each prune threw away; if not, the plain re-dense path.

    Returns:
        One row a weight: `stage` is `dense`, `sparse`, `adjusted` (the first prune, its weights solved for), per
        `round` `redense` and `pruned` (what the base pruner makes of it), and `final` (the last one, its weights
        solved for). `seen` and `held_out` are the output errors, relative to the output, on the two sets of windows;
        `changed` is the share of the first mask's weights that this mask does not keep; `returned` is the median
        size of the weights that the first mask prunes, relative to their dense size. Histogram and statistics as in a
        run's record.
    """
    dense = layer.seen.weight
    fit = layer.seen.shrunk(method.alpha)
    std = float(dense.std(correction=0))
    first = pruner.solve(fit, pattern)
    gone = ~first.mask & (dense != 0)

    def row(stage: str, value: Pruned | Tensor, number: int = 0) -> dict[str, Any]:
        weight, mask = (value.weight, value.mask) if isinstance(value, Pruned) else (value, None)
        errors = {"seen": layer.seen.loss(weight), "held_out": layer.held_out.loss(weight)}
        moved = {"changed": float("nan") if mask is None else mask_change(first.mask, mask)}
        moved["returned"] = float((weight[gone] / dense[gone]).abs().median())
        numbers = vars(histogram(weight, std)) | vars(statistics(weight, std, mask))
        return {"stage": stage, "round": number} | errors | moved | numbers

    rows = [row("dense", dense), row("sparse", first)]
    rows.append(row("adjusted", solve_kept(fit, first)))
    path = admm_rounds if memory else proximal_rounds
    options: dict[str, Any] = {"rounds": method.rounds, "rho": method.rho, "rho_growth": method.rho_growth}
    for one in path(fit, first.weight, pattern, **options):
        again = pruner.solve(LayerProblem(one.dense, fit.gram), pattern)
        rows += [row("redense", one.dense, one.number), row("pruned", again, one.number)]
    rows.append(row("final", solve_kept(fit, again)))
    return pd.DataFrame(rows)
