"""Test and time the engine on a GPU; takes at most 8 minutes.

    python benchmarks/gpu.py [--minutes 8]

Runs the tests that need a GPU. Prunes a small model by each method on the CPU and on the GPU, and prints how far the
two agree. Then it prunes a random Llama-shaped model of 1.1 billion weights in bfloat16 by each method, and prints
seconds by part, the peak of the device's memory, and the share of the device's bfloat16 peak that a plain forward
reaches. What does not fit into the time is named. Without a GPU it says so and exits with code 2.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.cost import NothingDone
from sds_core.block_pass import BlockDone
from sds_core.layer_result import LayerResult
from sds_core.models.device import allow_fast_matmul, describe, pick_device, synchronise
from sds_core.models.evaluate import evaluate
from sds_core.models.stream import batches, capture
from sds_core.models.structure import ModelStructure, find_blocks
from sds_core.pruning.methods import make_method
from sds_core.pruning.pattern import parse_pattern
from sds_core.pruning.registry import PRUNERS
from sds_core.runs import checkpoint, layer_stats
from sds_core.sds import Recipe, run_phase

ROOT = Path(__file__).parents[1]
CPU = torch.device("cpu")
METHODS = (
    ("base", "magnitude"),
    ("base", "wanda"),
    ("base", "sparsegpt"),
    ("adjusted", "wanda"),
    ("sds-admm", "wanda"),
    ("sds", "wanda"),
    ("sds-admm", "sparsegpt"),
    ("straight-through", "wanda"),
    ("swaps", "wanda"),
)
LARGE = {"vocab_size": 32000, "hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 22}
LARGE |= {"num_attention_heads": 32, "num_key_value_heads": 4}
SMALL = {"vocab_size": 512, "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2}
SMALL |= {"num_attention_heads": 4}
GPU_TESTS = ("tests/standin", "tests/models/test_observation.py")
NO_GPU = 2
"""Exit code where there is no GPU."""


@dataclass
class Clock:
    """Seconds by part, of a device that works while the host goes on."""

    device: torch.device
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timing(self, part: str) -> Iterator[None]:
        """Add the time spent inside the `with` to a part."""
        synchronise(self.device)
        began = time.monotonic()
        yield
        synchronise(self.device)
        self.seconds[part] = self.seconds.get(part, 0.0) + time.monotonic() - began


@dataclass(frozen=True, kw_only=True)
class TimedRecipe(Recipe):
    """Times its solvers."""

    clock: Clock

    def fused(self, layer: LayerResult) -> LayerResult:
        with self.clock.timing("solving"):
            return super().fused(layer)


def random_model(device: torch.device, dtype: torch.dtype, sizes: dict[str, int]) -> LlamaForCausalLM:
    """Make a random model; its numbers are drawn on the device."""
    torch.manual_seed(0)
    config = LlamaConfig(**sizes, max_position_embeddings=4096, dtype=dtype)
    with torch.device(device):
        model = LlamaForCausalLM(config)
    return model.to(dtype).to("cpu").eval()


def drawn(model: LlamaForCausalLM, windows: int, length: int) -> torch.Tensor:
    """Return random token ids (windows, length)."""
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, model.config.vocab_size, (windows, length), generator=generator)


def prune(
    structure: ModelStructure, windows: torch.Tensor, device: torch.device, method: str, pruner: str
) -> tuple[dict[str, float], list[Any]]:
    """Prune a dense model to 2:4 as a run does, with record and checkpoint; return seconds by part, and the record."""
    clock = Clock(device)
    recipe = TimedRecipe(
        pruner=PRUNERS[pruner](), method=make_method(method, {}), pattern=parse_pattern("2:4"), clock=clock
    )
    rows, masks = list[Any](), dict[str, torch.Tensor]()
    with clock.timing("whole"):
        for event in run_phase("fused", structure, windows, recipe, device, NothingDone()):
            if isinstance(event, LayerResult):
                with clock.timing("recording"):
                    rows += layer_stats.rows(event)
                    masks[event.linear.label] = checkpoint.packed_mask(event.stages.newest.mask)
            elif isinstance(event, BlockDone):
                with clock.timing("recording"):
                    checkpoint.packed(structure.blocks[event.block], masks)
    seconds = clock.seconds
    seconds["observing"] = seconds.pop("whole") - seconds["solving"] - seconds["recording"]
    return seconds, rows


def agreement(device: torch.device, method: str, pruner: str) -> tuple[float, float]:
    """Prune a small model on the CPU and on a device; return the share of equal mask entries, and the largest relative
    difference of a layer's loss."""
    found = []
    for place in (CPU, device):
        model = random_model(CPU, torch.float32, SMALL)
        structure = find_blocks(model)
        _, rows = prune(structure, drawn(model, 8, 128), place, method, pruner)
        kept = torch.cat([(linear.read() != 0).flatten() for block in structure.blocks for linear in block.linears])
        found.append((kept, [row.loss for row in rows if row.stage == ("sparse" if method == "base" else "final")]))
    (mask, losses), (other_mask, others) = found
    worst = max(abs(one - other) / abs(one) for one, other in zip(losses, others, strict=True))
    return float((mask == other_mask).double().mean()), worst


def bf16_peak(device: torch.device, size: int) -> float:
    """Return the bfloat16 operations a second of products of square matrices."""
    one = torch.randn(size, size, dtype=torch.bfloat16, device=device)
    best = 0.0
    for _ in range(5):
        clock = Clock(device)
        with clock.timing("products"):
            for _ in range(10):
                one @ one
        best = max(best, 10 * 2 * size**3 / clock.seconds["products"])
    return best


def forward_speed(structure: ModelStructure, windows: torch.Tensor, device: torch.device) -> tuple[float, float]:
    """Return the seconds of one forward through all blocks, and its operations a second in products with weights."""
    for _ in range(2):  # the first one also loads libraries
        stream, clock = capture(structure, batches(windows, device), device), Clock(device)
        with clock.timing("forward"):
            for _ in structure.blocks:
                stream.advance()
    seconds = clock.seconds["forward"]
    return seconds, 2 * windows.numel() * structure.prunable / seconds


def memory_peak(device: torch.device) -> str:
    """Return the peak of a device's memory since `forget_peak`."""
    module: Any = torch.get_device_module(device)
    known = hasattr(module, "max_memory_allocated")
    return f"{module.max_memory_allocated(device) / 1e9:.1f} GB" if known else "not known"


def forget_peak(device: torch.device) -> None:
    """Measure the peak of a device's memory anew."""
    module: Any = torch.get_device_module(device)
    if hasattr(module, "reset_peak_memory_stats"):
        module.reset_peak_memory_stats(device)


def large(device: torch.device, model: LlamaForCausalLM, windows: torch.Tensor, left: Callable[[], float]) -> None:
    """Time each method on a model while `left()` seconds suffice, and print a row for each."""
    structure = find_blocks(model)
    linears = [linear for block in structure.blocks for linear in block.linears]
    structure.store.keep_dense(linear.parameter for linear in linears)
    print(f"\n{structure.total:,} weights in {model.dtype}, {windows.shape[0]}×{windows.shape[1]} tokens\n")
    print("| method | observing s | solving s | recording s | evaluating s | peak memory |\n|---|---|---|---|---|---|")
    longest = 0.0
    for method, pruner in METHODS:
        if left() < 1.5 * longest:
            print(f"| {method} from {pruner} | no time left | | | | |", flush=True)
            continue
        began = time.monotonic()
        forget_peak(device)
        seconds, _ = prune(structure, windows, device, method, pruner)
        clock = Clock(device)
        with clock.timing("evaluating"):
            list(evaluate(structure, windows[:4], device))
        seconds |= clock.seconds
        cells = " | ".join(f"{seconds[part]:.1f}" for part in ("observing", "solving", "recording", "evaluating"))
        print(f"| {method} from {pruner} | {cells} | {memory_peak(device)} |", flush=True)
        structure.store.restore_dense()
        longest = max(longest, time.monotonic() - began)


def tests_pass(seconds: float) -> bool:
    """Run the tests that need a GPU, in a process of their own; return whether all pass in time."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "gpu", *GPU_TESTS]
    try:
        return subprocess.run(command, cwd=ROOT, timeout=seconds).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def report(device: torch.device, minutes: float) -> bool:
    """Print everything about a device; return whether tests passed and CPU and device agree."""
    deadline = time.monotonic() + 60 * minutes
    print(f"{describe(device)}, torch {torch.__version__}; float32 products: {allow_fast_matmul(device)}", flush=True)
    passed = tests_pass(60 * minutes / 3)
    print("\n| method | equal mask entries | largest difference of a loss |\n|---|---|---|")
    agree = True
    for method, pruner in METHODS:
        equal, worst = agreement(device, method, pruner)
        agree &= equal > 0.98 and worst < 0.02
        print(f"| {method} from {pruner} | {equal:.3%} | {worst:.1e} |", flush=True)
    model = random_model(device, torch.bfloat16, LARGE)
    windows = drawn(model, 32, 2048)
    peak, (seconds, speed) = bf16_peak(device, 8192), forward_speed(find_blocks(model), windows, device)
    print(f"\nbfloat16 products: {peak / 1e12:.0f} TF/s")
    print(f"forward, with the weights copied there: {seconds:.2f} s, {speed / peak:.0%} of it")
    large(device, model, windows, lambda: deadline - time.monotonic())
    print(f"\ntests {'passed' if passed else 'FAILED'}; CPU and device {'agree' if agree else 'DISAGREE'}")
    return passed and agree


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8.0, help="the longest it may take (default: %(default)s)")
    options = parser.parse_args()
    device = pick_device()
    if device.type == "cpu":
        print("There is no GPU here: torch finds none of cuda, xpu and mps, so there is nothing to measure.")
        return NO_GPU
    return int(not report(device, options.minutes))


if __name__ == "__main__":
    sys.exit(main())
