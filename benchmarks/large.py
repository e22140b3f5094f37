"""Prune a random Llama-shaped model larger than memory; print peak memory and seconds.

    python benchmarks/large.py FOLDER [--blocks 26] [--hidden 3200] [--intermediate 8640] [--weights disk] [--keep]
        [any option of `python -m sds_core run`, such as --method sds-admm]

The model is written file by file, with at most one block in memory, and deleted afterwards unless --keep is given. The
defaults make 3.4 billion weights in bfloat16, 6.9 GB. The run writes to the same folder. The weights are random, so the
perplexities say nothing about pruning; they show that the run went through every step.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from transformers import LlamaConfig, PreTrainedTokenizerFast

sys.path.insert(0, str(Path(__file__).parents[1]))

from sds_core.runs.run_result import RunResult

TEXTS = {"--calibration": "python-docs@0-50%", "--evaluation": "python-docs@50-100%"}


def write_model(folder: Path, config: LlamaConfig, seed: int = 0) -> int:
    """Write a random model with a byte tokenizer; return its number of weights."""
    folder.mkdir(parents=True)
    places, total = dict[str, str](), 0
    files = 1 + config.num_hidden_layers
    for number in range(files):
        generator = torch.Generator().manual_seed(seed * 100_003 + number)
        shapes = non_block_shapes(config) if number == 0 else block_shapes(config, number - 1)
        tensors = {name: drawn(shape, generator) for name, shape in shapes.items()}
        file = f"model-{number + 1:05}-of-{files:05}.safetensors"
        save_file(tensors, folder / file, metadata={"format": "pt"})
        places |= dict.fromkeys(tensors, file)
        total += sum(tensor.numel() for tensor in tensors.values())
    index = {"metadata": {"total_size": 2 * total}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    config.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return total


def non_block_shapes(config: LlamaConfig) -> dict[str, tuple[int, ...]]:
    """Return the shapes of all tensors outside the blocks."""
    table = (config.vocab_size, config.hidden_size)
    return {"model.embed_tokens.weight": table, "model.norm.weight": (config.hidden_size,), "lm_head.weight": table}


def block_shapes(config: LlamaConfig, index: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of all tensors of one block."""
    wide, inner = config.hidden_size, config.intermediate_size
    shapes: dict[str, tuple[int, ...]] = {f"self_attn.{part}_proj": (wide, wide) for part in "qkvo"}
    shapes |= {"mlp.gate_proj": (inner, wide), "mlp.up_proj": (inner, wide), "mlp.down_proj": (wide, inner)}
    shapes |= {"input_layernorm": (wide,), "post_attention_layernorm": (wide,)}
    return {f"model.layers.{index}.{name}.weight": shape for name, shape in shapes.items()}


def drawn(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Return a matrix drawn from a normal distribution with standard deviation 0.02, or norm weights of one."""
    if len(shape) == 1:
        return torch.ones(shape, dtype=torch.bfloat16)
    return torch.empty(shape, dtype=torch.bfloat16).normal_(0, 0.02, generator=generator)


def tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer of a start token and all bytes."""
    names = ["<s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    raw = Tokenizer(models.BPE(vocab={name: i for i, name in enumerate(names)}, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", eos_token="<s>")


def prune(folder: Path, model: Path, options: argparse.Namespace, further: list[str]) -> tuple[RunResult, float, int]:
    """Prune the model with the product's command; return the result, its wall time and its peak memory in MiB."""
    flags = {"--model": model, "--weights": options.weights, "--pruner": "wanda", "--method": "base", **TEXTS}
    flags |= {"--pattern": "2:4", "--samples": options.samples, "--length": options.length}
    flags |= {"--held-out": options.held_out, "--eval-windows": options.samples, "--eval-length": options.length}
    chosen = [str(word) for pair in flags.items() for word in pair]
    command = [sys.executable, "-m", "sds_core", "run", *chosen, *further]
    places = {"SDS_RUNS": str(folder / "runs"), "SDS_CACHE": str(folder / "cache")}
    began = time.monotonic()
    subprocess.run(command, cwd=Path(__file__).parents[1], env=os.environ | places, check=True)
    seconds = time.monotonic() - began
    (path,) = (folder / "runs").glob("*/result.json")
    # The worker is a grandchild whose parent waited for it, so its peak is among the children's.
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> (20 if sys.platform == "darwin" else 10)
    return RunResult.parse(path.read_text(encoding="utf-8")), seconds, peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a new folder on a disk with room for twice the model")
    parser.add_argument("--blocks", type=int, default=26)
    parser.add_argument("--hidden", type=int, default=3200)
    parser.add_argument("--intermediate", type=int, default=8640)
    parser.add_argument("--heads", type=int, default=32)
    parser.add_argument("--vocabulary", type=int, default=32000)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--held-out", type=int, default=0, help="windows on which layer errors are recorded")
    parser.add_argument("--weights", choices=("auto", "memory", "disk"), default="disk")
    parser.add_argument("--keep", action="store_true", help="keep the folder; an existing one is reused")
    options, further = parser.parse_known_args()
    config = LlamaConfig(
        vocab_size=options.vocabulary,
        hidden_size=options.hidden,
        intermediate_size=options.intermediate,
        num_hidden_layers=options.blocks,
        num_attention_heads=options.heads,
        num_key_value_heads=options.heads,
        bos_token_id=0,
        eos_token_id=0,
        dtype="bfloat16",
        architectures=["LlamaForCausalLM"],
    )
    folder, model = options.folder.resolve(), options.folder.resolve() / "model"
    mine = folder / "made-by-large.txt"
    if folder.exists() and any(folder.iterdir()) and not mine.exists():
        sys.exit(f"{folder} holds other things: name a new folder, which is removed afterwards")
    folder.mkdir(parents=True, exist_ok=True)
    mine.touch()
    try:
        if not model.exists():
            began = time.monotonic()
            print(f"{write_model(model, config):,} weights written in {time.monotonic() - began:.0f} s", flush=True)
        shutil.rmtree(folder / "runs", ignore_errors=True)
        result, seconds, peak = prune(folder, model, options, further)
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
    perplexity = {stage: round(measured.value, 1) for stage, measured in result.perplexity.items()}
    pruning = sum(result.seconds.values())
    print(f"\n{result.total:,} weights, {result.pruned:,} of {result.prunable:,} prunable ones pruned")
    print(f"peak memory {peak} MiB, {seconds:.0f} s in total, {pruning:.0f} s of it pruning; {perplexity}")


if __name__ == "__main__":
    main()
