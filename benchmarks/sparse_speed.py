"""What 2:4 gives on this GPU: single layers at several batch sizes, and a whole model's tokens per second.

    python benchmarks/sparse_speed.py [--model FOLDER] [--seconds 0.3]

Weights are pruned to 2:4 by magnitude and converted by `torch.sparse.to_sparse_semi_structured`. Both forms multiply
the same inputs, their products are compared, and each is timed by events of the device until `--seconds` have passed.
The whole model reads prompts (many tokens at once) and single tokens without context or cache: an upper bound for
generation, which also attends to all earlier tokens. Without `--model` it is a random one of Llama's shape, for speed
does not depend on values. A layer that the kernels refuse is named with their reason, and one that is slower is printed
like any other. Without an NVIDIA GPU it says so and exits with code 2.
"""

import argparse
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from sds_core.models.device import describe, pick_device, synchronise
from sds_core.models.load import load_model
from sds_core.models.structure import find_blocks
from sds_core.pruning.pattern import NM

NO_GPU = 2
"""Exit code where nothing can be measured."""
PATTERN = NM(2, 4)
SHAPES = {
    "135M q_proj": (576, 576),
    "135M up_proj": (1536, 576),
    "1B up_proj": (8192, 2048),
    "7B q_proj": (4096, 4096),
    "7B up_proj": (11008, 4096),
    "70B up_proj": (28672, 8192),
}
"""Outputs and inputs of layers of well-known models."""
TOKENS = (1, 16, 64, 256, 1024, 4096)
"""Rows that a product has: one of generation for one reader, many of a prompt or of many readers."""
LLAMA = {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 8, "num_attention_heads": 32}
PROMPT, READERS = 512, (1, 8, 64)
"""Tokens of a prompt, and readers at once."""
DTYPE = torch.bfloat16


@dataclass(frozen=True)
class Timing:
    """Seconds of one product, or of one step of a model, dense and 2:4."""

    dense: float
    sparse: float

    @property
    def speedup(self) -> float:
        """Times as fast; below 1 it is slower."""
        return self.dense / self.sparse

    @property
    def words(self) -> str:
        """The speedup as it is printed: differences below 5 % count as none."""
        if abs(self.speedup - 1) < 0.05:
            return f"{self.speedup:.2f} ×, no difference"
        return f"{self.speedup:.2f} ×" + (", slower" if self.speedup < 1 else "")


def stored_bits(rows: int, columns: int, bits: int = 16) -> int:
    """Return the bits of a 2:4 matrix: half of its weights, and two bits for the place of each that is kept."""
    kept = rows * columns * PATTERN.keep // PATTERN.group
    return kept * (bits + 2)


def tokens_per_second(tokens: int, seconds: float) -> float:
    """Return the tokens that go through the model in a second."""
    return tokens / seconds


def prune(weight: Tensor) -> Tensor:
    """Return a weight (R, C) with the smaller two of every four set to zero."""
    return weight * PATTERN.mask(weight.abs().float())


def timed(step: Callable[[], object], seconds: float) -> float:
    """Return the median seconds of a step on the GPU, once it is warm."""
    for _ in range(5):
        step()
    took: list[float] = []
    while sum(took) < seconds or len(took) < 20:
        begin, end = (torch.Event(enable_timing=True) for _ in range(2))
        begin.record()
        step()
        end.record()
        end.synchronize()
        took.append(begin.elapsed_time(end) / 1000)
    return statistics.median(took)


def layer(rows: int, columns: int, tokens: int, device: torch.device, seconds: float) -> tuple[Timing, float]:
    """Return the timing of one layer, and how far the two products are apart, relative to their size."""
    weight = prune(torch.randn(rows, columns, device=device, dtype=DTYPE))
    inputs = torch.randn(tokens, columns, device=device, dtype=DTYPE)
    packed: Any = torch.sparse.to_sparse_semi_structured(weight)
    linear = nn.functional.linear
    one, other = linear(inputs, weight).float(), linear(inputs, packed).float()
    apart = float((one - other).norm() / one.norm())
    return Timing(timed(lambda: linear(inputs, weight), seconds), timed(lambda: linear(inputs, packed), seconds)), apart


def layers(device: torch.device, seconds: float) -> None:
    """Print a row for each layer and batch size."""
    print("| layer | tokens | dense µs | 2:4 µs | speedup | relative difference |\n|---|---|---|---|---|---|")
    for name, (rows, columns) in SHAPES.items():
        share = stored_bits(rows, columns) / (16 * rows * columns)
        for tokens in TOKENS:
            try:
                found, apart = layer(rows, columns, tokens, device, seconds)
            except (RuntimeError, NotImplementedError) as error:
                print(f"| {name} | {tokens} | | | refused: {str(error).splitlines()[0][:90]} | |", flush=True)
                continue
            numbers = f"{1e6 * found.dense:.1f} | {1e6 * found.sparse:.1f} | {found.words} | {apart:.1e}"
            print(f"| {name}, {share:.1%} of the bytes | {tokens} | {numbers} |", flush=True)


def convert(model: nn.Module, device: torch.device) -> int:
    """Put packed weights into a pruned model's linears; return how many the kernels refused."""
    refused = 0
    for module in (linear.module for block in find_blocks(model).blocks for linear in block.linears):
        if not isinstance(module, nn.Linear):
            continue
        try:
            packed: Any = torch.sparse.to_sparse_semi_structured(module.weight.detach().to(device))
        except (RuntimeError, NotImplementedError, ValueError):
            refused += 1
            continue
        module.weight = nn.Parameter(packed, requires_grad=False)
    return refused


@torch.no_grad()
def whole_model(path: str | None, device: torch.device, seconds: float) -> None:
    """Print tokens per second of a model, for prompts and for single tokens."""
    if path:
        model = load_model(path, "bfloat16").model
    else:
        with torch.device(device):
            model = LlamaForCausalLM(LlamaConfig(**LLAMA)).to(DTYPE)
    model = model.to(device).eval()
    for block in find_blocks(model).blocks:
        for linear in block.linears:
            linear.write(prune(linear.read()))
    steps = {readers: (prompts(model, readers, device), single_tokens(model, readers, device)) for readers in READERS}
    dense = {readers: [timed(step, seconds) for step in both] for readers, both in steps.items()}
    refused = convert(model, device)
    print(f"\n{path or 'a random model of Llama’s shape'}, {refused} layers left dense\n")
    print("| readers | dense tokens/s | 2:4 tokens/s | speedup |\n|---|---|---|---|")
    for readers, both in steps.items():
        for what, tokens, before, step in zip(
            ("prompt", "one token, no context"), (readers * PROMPT, readers), dense[readers], both, strict=True
        ):
            after = timed(step, seconds)
            numbers = f"{tokens_per_second(tokens, before):,.0f} | {tokens_per_second(tokens, after):,.0f}"
            print(f"| {readers}, {what} | {numbers} | {Timing(before, after).words} |", flush=True)


def prompts(model: nn.Module, readers: int, device: torch.device) -> Callable[[], object]:
    """Return the step that reads a prompt for each reader."""
    ids = torch.ones(readers, PROMPT, dtype=torch.long, device=device)
    return lambda: model(input_ids=ids, use_cache=False)


def single_tokens(model: nn.Module, readers: int, device: torch.device) -> Callable[[], object]:
    """Return the step of one token for each reader, without context or cache."""
    ids = torch.ones(readers, 1, dtype=torch.long, device=device)
    return lambda: model(input_ids=ids, use_cache=False)


def main() -> int:
    """Measure, or say why not."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", metavar="FOLDER", help="a model for the second table; a random one without it")
    parser.add_argument("--seconds", type=float, default=0.3, help="for each figure (default: 0.3)")
    options = parser.parse_args()
    device = pick_device()
    if device.type != "cuda" or torch.version.hip:
        print("Nothing is measured: it takes an NVIDIA GPU with sparse matrix units (Ampere or newer).")
        return NO_GPU
    print(f"{describe(device)}, torch {torch.__version__}, {str(DTYPE).removeprefix('torch.')}\n")
    layers(device, options.seconds)
    whole_model(options.model, device, options.seconds)
    synchronise(device)
    return 0


if __name__ == "__main__":
    sys.exit(main())
