"""How the cost of pruning grows with tokens, width and blocks, and what that predicts for models of 7B and 70B.

    python benchmarks/scale.py [--widths 256 384 512 768 1024] [--tokens 2048 4096 8192] [--blocks 1 2 4]

Prunes small random Llama-shaped models to 2:4 in float32 on one thread, and measures CPU seconds of three parts:
observing (all forwards, and Gram matrices), solving (the pruner, the rounds, the adjustment) and recording. It fits an
exponent to each series, the quadratic and the cubic part of what grows with the width alone, and divides the operations
of each part, counted below, by the seconds. The prediction divides the same operations by the speed of an H100. Run
nothing else meanwhile.
"""

import argparse
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.utils import logging

from benchmarks.cost import NothingDone
from sds_core.layer_result import LayerResult
from sds_core.models.device import allow_fast_matmul
from sds_core.models.structure import find_blocks
from sds_core.pruning.methods import SDSAdmm, make_method
from sds_core.pruning.pattern import parse_pattern
from sds_core.pruning.registry import PRUNERS
from sds_core.runs import layer_stats
from sds_core.sds import Recipe, run_phase

CPU = torch.device("cpu")
METHODS = {"Wanda": ("base", "wanda"), "SparseGPT": ("base", "sparsegpt"), "sds-admm": ("sds-admm", "wanda")}
PARTS = ("observing", "solving", "recording")
LENGTH = 256
"""Tokens in a window of the measurements."""
STEPS = 12
"""Steps of conjugate gradients in `operations`, both candidates together: what runs on real models took."""
RECORDED = 1.5
"""Products of a weight with H in the record of a layer: three energies, each by symmetry half a product."""


@dataclass(frozen=True)
class Shape:
    """A Llama-shaped model."""

    width: int
    inner: int
    blocks: int
    narrow: int
    """Outputs of the key and of the value projection."""

    @property
    def groups(self) -> list[tuple[int, int]]:
        """Inputs and outputs of a block's linears, those that share an input together."""
        wide = self.width
        return [(wide, wide + 2 * self.narrow), (wide, wide), (wide, 2 * self.inner), (self.inner, wide)]

    @property
    def weights(self) -> int:
        """Prunable weights of a block."""
        return sum(inputs * outputs for inputs, outputs in self.groups)


MODELS = {"7B": Shape(4096, 11008, 32, 4096), "70B": Shape(8192, 28672, 80, 1024)}
TOKENS = (128, 2048)
"""Windows and their length in the prediction: what the papers of the pruners take."""
SPEEDS = {
    "forwards": (790e12 / 2, "bf16, half of the 790 TF/s that products reach"),
    "Gram matrices": (50e12, "fp32, three quarters of the peak of 67 TF/s"),
    "products with H": (50e12, "fp32"),
    "factorisations": (10e12, "fp32, small blocks on the diagonal"),
}
"""Operations a second of an H100 (SXM), assumed."""


def operations(shape: Shape, tokens: int, length: int, method: str) -> dict[str, float]:
    """Count the floating-point operations of all blocks, by kind; two for each multiplication with an addition."""
    rounds = SDSAdmm().rounds
    squares = sum(inputs**2 for inputs, _ in shape.groups)
    cubes = sum(inputs**3 for inputs, _ in shape.groups)
    product = 2 * sum(outputs * inputs**2 for inputs, outputs in shape.groups)
    admm = method == "sds-admm"
    solving = {"Wanda": 0.0, "SparseGPT": product / 2, "sds-admm": product * (1 + rounds + STEPS)}
    counted = {
        # two a block, but base pruners send nothing through the last one; each with attention
        "forwards": (2 if admm else 2 - 1 / shape.blocks) * tokens * (2 * shape.weights + 4 * length * shape.width),
        "Gram matrices": tokens * squares * (3 if admm else 1),  # by symmetry half a product, and a whole one across
        "products with H": solving[method] + RECORDED * product,
        "factorisations": {"Wanda": 0, "SparseGPT": cubes, "sds-admm": rounds * cubes}[method],
    }
    return {kind: shape.blocks * float(number) for kind, number in counted.items()}


@dataclass(frozen=True, kw_only=True)
class TimedRecipe(Recipe):
    """Adds up the CPU seconds of its solvers."""

    spent: list[float] = field(default_factory=list)

    def fused(self, layer: LayerResult) -> LayerResult:
        began = time.process_time()
        solved = super().fused(layer)
        self.spent.append(time.process_time() - began)
        return solved


def small(width: int, blocks: int) -> Shape:
    """A shape with the proportions of the 7B model; its width is a multiple of 64."""
    return Shape(width, width * 43 // 16 // 8 * 8, blocks, width)


def measure(shape: Shape, tokens: int, method: str) -> dict[str, float]:
    """Prune a random model of a shape; return the CPU seconds of each part."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=512,
        hidden_size=shape.width,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.blocks,
        num_attention_heads=shape.width // 64,
    )
    structure = find_blocks(LlamaForCausalLM(config).eval())
    windows = torch.randint(0, 512, (max(tokens // LENGTH, 1), min(tokens, LENGTH)))
    name, pruner = METHODS[method]
    recipe = TimedRecipe(pruner=PRUNERS[pruner](), method=make_method(name, {}), pattern=parse_pattern("2:4"))
    began, recording = time.process_time(), 0.0
    for event in run_phase("fused", structure, windows, recipe, CPU, NothingDone()):
        if isinstance(event, LayerResult):
            mark = time.process_time()
            layer_stats.rows(event)
            recording += time.process_time() - mark
    solving = sum(recipe.spent)
    return {"observing": time.process_time() - began - solving - recording, "solving": solving, "recording": recording}


def exponent(sizes: Sequence[int], seconds: Sequence[float]) -> float:
    """Return p of the power law seconds ∝ size^p that fits best."""
    x, y = ([math.log(max(value, 1e-9)) for value in values] for values in (sizes, seconds))
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    across = sum((one - mean_x) * (other - mean_y) for one, other in zip(x, y, strict=True))
    return across / sum((one - mean_x) ** 2 for one in x)


def squares_and_cubes(widths: Sequence[int], seconds: Sequence[float]) -> tuple[float, float]:
    """Return a and b of a·C² + b·C³, in units of the largest width's seconds, that fit best relative to the seconds."""
    size, unit = torch.tensor(widths, dtype=torch.float64) / max(widths), max(seconds) or 1.0
    taken = torch.tensor(seconds, dtype=torch.float64).clamp_min(1e-6) / unit
    powers = torch.stack([size**2, size**3], dim=1) / taken[:, None]
    first, second = torch.linalg.lstsq(powers, torch.ones(len(widths), 1, dtype=torch.float64)).solution.flatten()
    return (float(first), float(second)) if min(first, second) >= 0 else (float(second < 0), float(first < 0))


def show_series(method: str, series: dict[str, tuple[list[int], list[dict[str, float]]]]) -> None:
    """Print what was measured of one method, with the exponents."""
    print(f"\n{method}\n\n| grows | sizes | {' | '.join(f'{part}, CPU s' for part in PARTS)} | exponents |")
    print("|---|---|---|---|---|---|")
    for name, (sizes, found) in series.items():
        columns = [[one[part] for one in found] for part in PARTS]
        listed = [" ".join(f"{value:.2f}" for value in column) for column in columns]
        powers = ", ".join(f"{exponent(sizes, column):.2f}" for column in columns)
        print(f"| {name} | {' '.join(map(str, sizes))} | {' | '.join(listed)} | {powers} |")
    widths, found = series["width"]
    print()
    for part in PARTS[1:]:
        first, second = squares_and_cubes(widths, [one[part] for one in found])
        print(f"{part} at width {widths[-1]}: quadratic {first:.0%}, cubic {second:.0%} of the seconds")


def show_rate(method: str, shape: Shape, tokens: int, found: dict[str, float]) -> None:
    """Print how many operations a second the parts of the largest measurement were."""
    counted = operations(shape, tokens, min(tokens, LENGTH), method)
    observing = counted["forwards"] + counted["Gram matrices"]
    rest = counted["products with H"] + counted["factorisations"]
    seconds = found["solving"] + found["recording"]
    print(
        f"\nwidth {shape.width}, {tokens:,} tokens: observing {observing / 1e9:.0f} GF at "
        f"{observing / found['observing'] / 1e9:.0f} GF/s, solving and recording {rest / 1e9:.0f} GF at "
        f"{rest / seconds / 1e9:.0f} GF/s"
    )


def show_prediction() -> None:
    """Print the operations and seconds of large models on an H100."""
    windows, length = TOKENS
    print(f"\nPredicted for one H100, {windows}×{length:,} tokens, without what waits for the host:\n")
    print(f"| model, method | {' | '.join(f'{kind}, PF: s' for kind in SPEEDS)} | minutes |")
    print("|---|---|---|---|---|---|")
    for model, shape in MODELS.items():
        for method in METHODS:
            counted = operations(shape, windows * length, length, method)
            seconds = {kind: number / SPEEDS[kind][0] for kind, number in counted.items()}
            cells = [f"{counted[kind] / 1e15:.2f}: {seconds[kind]:.0f}" for kind in SPEEDS]
            print(f"| {model}, {method} | {' | '.join(cells)} | {sum(seconds.values()) / 60:.1f} |")
    print()
    for kind, (speed, why) in SPEEDS.items():
        print(f"- {kind}: {speed / 1e12:.0f} TF/s ({why})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", type=int, nargs="+", default=[256, 384, 512, 768, 1024])
    parser.add_argument("--tokens", type=int, nargs="+", default=[2048, 4096, 8192])
    parser.add_argument("--blocks", type=int, nargs="+", default=[1, 2, 4])
    options = parser.parse_args()
    logging.set_verbosity_error()
    torch.set_num_threads(1)
    allow_fast_matmul(CPU)
    width, tokens = options.widths[len(options.widths) // 2], options.tokens[0]
    measure(small(options.widths[0], 1), tokens, "sds-admm")  # the first use of a library takes longer
    for method in METHODS:
        by_tokens = [measure(small(width, 1), count, method) for count in options.tokens]
        by_width = [measure(small(wide, 1), tokens, method) for wide in options.widths]
        by_blocks = [measure(small(width, count), tokens, method) for count in options.blocks]
        series = {"tokens": (options.tokens, by_tokens), "width": (options.widths, by_width)}
        show_series(method, series | {"blocks": (options.blocks, by_blocks)})
        show_rate(method, small(options.widths[-1], 1), tokens, by_width[-1])
    show_prediction()


if __name__ == "__main__":
    main()
