"""Prune random mixtures with more and more experts; print peak memory against model size.

    python benchmarks/mixture_memory.py FOLDER [--experts 8 32 128] [--neurons 8192] [--weights memory]
        [any option of `python -m sds_core run`, such as --method sds-admm]

The neurons of a block are shared among its experts, so all mixtures are of one size; their Gram matrices are not. Every
mixture is pruned in a process of its own. The first row is a mixture of two experts with 8 neurons in all: what Python,
the libraries and the texts take. The weights are random, so the perplexities say nothing.
"""

import argparse
import sys
from pathlib import Path

import torch
from transformers import MixtralConfig, MixtralForCausalLM

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.large import prune, tokenizer

BLOCKS, HIDDEN, ACTIVE = 4, 512, 2
MB = 1e6


def write_mixture(folder: Path, experts: int, neurons: int) -> None:
    """Write a random mixture in float32 with a byte tokenizer."""
    names = tokenizer()
    config = MixtralConfig(
        vocab_size=len(names),
        hidden_size=HIDDEN,
        intermediate_size=neurons // experts,
        num_hidden_layers=BLOCKS,
        num_attention_heads=8,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        num_local_experts=experts,
        num_experts_per_tok=min(ACTIVE, experts),
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    MixtralForCausalLM(config).save_pretrained(folder)
    names.save_pretrained(folder)


def gram_bytes(experts: int, neurons: int) -> int:
    """Return the size of the Gram matrices of all experts of a block."""
    return 4 * experts * (HIDDEN**2 + (neurons // experts) ** 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a new folder")
    parser.add_argument("--experts", type=int, nargs="+", default=[8, 32, 128])
    parser.add_argument("--neurons", type=int, default=8192, help="of all experts of a block")
    parser.add_argument("--weights", choices=("auto", "memory", "disk"), default="memory")
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--held-out", type=int, default=0)
    options, further = parser.parse_known_args()
    lines = ["| experts | weights | model | Gram matrices of a block | peak | above the first row |", "|--:" * 6 + "|"]
    base = 0
    for experts, neurons in [(2, 8), *((count, options.neurons) for count in options.experts)]:
        folder = options.folder.resolve() / str(experts)
        write_mixture(folder / "model", experts, neurons)
        result, _, _ = prune(folder, folder / "model", options, further)
        model, grams = 4 * result.total, gram_bytes(experts, neurons)
        base = base or result.peak_memory
        sizes = " | ".join(f"{size / MB:.0f} MB" for size in (model, grams, result.peak_memory))
        above = (result.peak_memory - base) / model
        lines.append(f"| {experts} | {result.total / 1e6:.1f} M | {sizes} | {above:.2f} × the model |")
        print("\n".join(lines), flush=True)


if __name__ == "__main__":
    main()
