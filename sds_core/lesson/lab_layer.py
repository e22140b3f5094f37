"""The layer of the Layer lab: one linear of the demo model, with what pruning needs to know of its inputs.

Shipped with the product: the weight, the Gram matrix of the inputs on calibration windows, and that on held-out windows
of the same text. What a setting gains on the first and not on the second, it overfits.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from sds_core.errors import SDSError
from sds_core.pruning.layer_problem import LayerProblem

ASSET = Path(__file__).parents[1] / "assets" / "lab-layer.safetensors"
LINEAR = "model.layers.8.self_attn.v_proj"
"""The shipped layer of the demo model: small enough to answer at once, and it overfits visibly."""
CALIBRATION, HELD_OUT, LENGTH = 8, 64, 512
"""Windows of the two Gram matrices, and tokens in each; the calibration is that of the preset `quick`."""


@dataclass(frozen=True, eq=False)
class LabLayer:
    """A layer's weight with the statistics of its inputs on two texts."""

    seen: LayerProblem
    """The weight (R, C) with the Gram matrix of the calibration windows."""
    held_out: LayerProblem
    """The same weight with the Gram matrix of other windows, which no step of a method sees."""
    about: dict[str, str]
    """Origin: model, layer, text, windows, command."""


def read_lab_layer(path: Path = ASSET) -> LabLayer:
    """Read a layer that `write_lab_layer` wrote.

    Raises:
        SDSError: the file is missing or broken.
    """
    try:
        with safe_open(path, "pt") as file:
            about = dict(file.metadata())
            weight = file.get_tensor("weight")
            seen, other = (_square(file.get_tensor(name), weight.shape[1]) for name in ("seen", "held_out"))
    except (OSError, SafetensorError, TypeError) as error:
        cure = f"restore it, or remake it with: {_command(path)}"
        raise SDSError(f"the layer in {path} cannot be read: {error}", cure=cure) from None
    name = about.get("layer", "this layer")
    return LabLayer(LayerProblem.from_gram(weight, seen, name), LayerProblem.from_gram(weight, other, name), about)


def write_lab_layer(model: str, name: str, text: str, path: Path) -> Iterator[str]:
    """Observe the inputs of a dense model's linear on calibration and held-out windows, and write the layer.

    Yields:
        A line of progress after each set of windows, then the file's name.

    Raises:
        SDSError: the model or the text cannot be loaded, the model has no such linear, or the folder is missing.
    """
    from sds_core.models.calibration import calibration_windows, digest
    from sds_core.models.device import pick_device
    from sds_core.models.load import load_model
    from sds_core.models.structure import find_blocks
    from sds_core.models.tensor_files import save_tensors

    if not path.parent.is_dir():
        raise SDSError("the output folder does not exist", got=path.parent)
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
        tensors[part] = _triangle(_gram(structure, linear, chosen, pick_device()))
        about |= {f"{part} windows": f"{len(chosen)} of {LENGTH} tokens", f"{part} sha256": digest(chosen)}
        yield f"{part}: {chosen.numel():,} tokens"
    save_tensors(path, tensors, about)
    yield str(path)


def _triangle(matrix: Tensor) -> Tensor:
    """Return the upper triangle of a symmetric matrix, row by row: the file need not hold the other."""
    rows, columns = torch.triu_indices(*matrix.shape)
    return matrix[rows, columns].contiguous()


def _square(triangle: Tensor, size: int) -> Tensor:
    """Return the symmetric matrix (size, size) of an upper triangle.

    Raises:
        SDSError: it is not one of this size.
    """
    if triangle.shape != (size * (size + 1) // 2,):
        raise SDSError("the layer's Gram matrix has another size than its weight", got=str(tuple(triangle.shape)))
    matrix = triangle.new_zeros(size, size)
    rows, columns = torch.triu_indices(size, size)
    matrix[rows, columns] = matrix[columns, rows] = triangle
    return matrix


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
