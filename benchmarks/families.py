"""Check for every causal model family of the installed transformers whether it replays exactly.

    python benchmarks/families.py [FAMILY ...] [--out docs/families.md]

Each family is built from its default configuration with small sizes and random weights and norms, with sdpa and with
eager attention. (1) Replaying all blocks must give the model's logits. (2) With half of the weights of the first two
blocks zeroed, replaying the calls captured before must give the logits of a fresh forward pass. Any difference but 0 is
a fault. (3) Adjusting the kept weights of these two blocks together must bring them nearer to their dense outputs.
"""

import argparse
import logging
import os
import signal
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ["HF_HUB_OFFLINE"] = "1"

import torch
import transformers
from transformers import CONFIG_MAPPING, AutoConfig, AutoModelForCausalLM
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from sds_core.models.block_reconstruction import adjust_block
from sds_core.models.linear import Linear
from sds_core.models.logits import logits
from sds_core.models.stream import Stream, capture
from sds_core.models.structure import find_blocks
from sds_core.pruning.layer_problem import Pruned
from sds_core.pruning.reconstruction import Reconstruction
from tests.models.families import plain_logits, randomised, texts

WIDTHS = dict.fromkeys(("hidden_size", "n_embd", "d_model", "embedding_size", "num_hidden_state"), 32)
INNER = dict.fromkeys(("intermediate_size", "ffn_dim", "n_inner", "decoder_ffn_dim", "intermediate_size_mlp"), 48)
DEPTHS = dict.fromkeys(("num_hidden_layers", "n_layer", "num_layers", "n_layers", "decoder_layers", "num_blocks"), 4)
HEADS = dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads", "decoder_attention_heads"), 4)
EXPERTS = dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"), 4)
EXPERTS |= dict.fromkeys(("num_experts_per_tok", "moe_topk", "moe_k"), 2)
EXPERTS |= dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size", "expert_ffn_hidden_size"), 16)
STATES = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_n_groups": 1, "mamba_d_ssm": 64}
LINEAR = dict.fromkeys(("linear_num_key_heads", "linear_num_value_heads"), 2)
LINEAR |= dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim"), 8)
LATENT = {"q_lora_rank": 16, "kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 8}
ROTATED = {"head_dim": 4, "num_key_value_heads": 4}  # latent attention rotates only a part of each head
PER_LAYER = {"hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 96, "global_head_dim": 8}
TOKENS = {"vocab_size": 96, **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id"), 0)}
POSITIONS = {"max_position_embeddings": 64, "n_positions": 64, "sliding_window": 8, "rotary_dim": 4, "max_seq_len": 64}
SMALL: dict[str, Any] = {
    **WIDTHS, **INNER, **DEPTHS, **HEADS, **EXPERTS, **STATES, **LINEAR, **LATENT, **PER_LAYER, **TOKENS, **POSITIONS,
    **{"num_key_value_heads": 2, "head_dim": 8, "n_group": 1, "topk_group": 1, "is_decoder": True},
}  # fmt: skip
"""Applied to every configuration that has a field of that name."""
OWN: dict[str, dict[str, Any]] = {
    "dots1": {"n_shared_experts": 1},
    "gemma3n_text": {"num_kv_shared_layers": 2, "laurel_rank": 4, "activation_sparsity_pattern": [0.0] * 4,
                     "intermediate_size": [48] * 4,
                     "layer_types": ["sliding_attention", "full_attention"] * 2},
    "gemma4_text": {"num_kv_shared_layers": 2},
    "gpt_neo": {"attention_types": [[["global", "local"], 2]], "window_size": 8},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2},
    "longcat_flash": {"ffn_hidden_size": 48, "zero_expert_num": 2, "num_layers": 2, "head_dim": 4},
    "mamba2": {"num_heads": 8, "head_dim": 8, "n_groups": 1, "state_size": 8},
    "qwen2": {"use_sliding_window": True},
    "qwen3": {"use_sliding_window": True},
}  # fmt: skip
"""Additional fields that some families need."""
LARGEST = 20_000_000
"""Most parameters of a model that counts as tiny."""
SECONDS = 30
"""Limit of CPU time per family and kind of attention."""


@dataclass
class Finding:
    """The outcome for one family."""

    family: str
    blocks: str = ""
    share: float = 0.0
    excluded: Counter = field(default_factory=Counter)
    exact: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def tiny(family: str, attention: str) -> transformers.PreTrainedModel:
    """Return a small random model of the family.

    Raises:
        ValueError: it stays large.
    """
    known = set(CONFIG_MAPPING[family]().to_dict()) - set(CONFIG_MAPPING[family].attribute_map)
    small = SMALL | (ROTATED if "qk_rope_head_dim" in known else {})
    options = {name: value for name, value in small.items() if name in known} | OWN.get(family, {})
    config = AutoConfig.for_model(family, **options)
    kinds = getattr(config, "layer_types", None) or []
    if {"sliding_attention", "full_attention"} == set(kinds) and "layer_types" not in options:
        options["layer_types"] = ["sliding_attention", "full_attention"] * (len(kinds) // 2)
        config = AutoConfig.for_model(family, **options)
    with torch.device("meta"):
        size = sum(p.numel() for p in AutoModelForCausalLM.from_config(config).parameters())
    if size > LARGEST:
        raise ValueError(f"not made tiny by the usual fields: {size:,} parameters")
    model = AutoModelForCausalLM.from_config(config, attn_implementation=attention, dtype=torch.float32)
    return randomised(model)


def replayed(stream: Stream, windows: torch.Tensor) -> torch.Tensor:
    """Replay all blocks with their current weights; return the logits."""
    for _ in stream.structure.blocks:
        stream.advance()
    return torch.stack(list(logits(stream, windows)))


def difference(mine: torch.Tensor, theirs: torch.Tensor) -> float:
    """Return the largest absolute difference of two tensors."""
    return float((mine - theirs).abs().max())


def halved(linear: Linear) -> Pruned:
    """Zero every other input of a layer; return its weight and mask."""
    weight = linear.read()
    mask = torch.ones_like(weight, dtype=torch.bool)
    mask[:, ::2] = False
    linear.write(weight * mask)
    return Pruned(weight * mask, mask)


def adjust(family: str, attention: str, windows: torch.Tensor) -> None:
    """Zero every other input of the layers in the first two blocks, and adjust each of these blocks as a whole.

    Raises:
        AssertionError: a block does not improve.
    """
    structure = find_blocks(tiny(family, attention))
    stream = capture(structure, windows, torch.device("cpu"))
    for block in structure.blocks[:2]:
        if block.linears:
            dense = {linear.label: linear.read() for linear in block.linears}
            pruned = {linear.label: halved(linear) for linear in block.linears}
            found, change = adjust_block(stream, block, dense, pruned, Reconstruction("block", epochs=3))
            assert change.kept, f"adjusting {block.name} does not help: {change.before:.3g} to {change.after:.3g}"
            for linear in block.linears:
                linear.write(found[linear.label].weight)
        stream.advance()


def examine(family: str, attention: str, found: Finding) -> None:
    """Build, replay, prune, replay again and adjust; record the outcome in `found`.

    Raises:
        AssertionError: a replay differs, or a block does not improve.
    """
    model = tiny(family, attention)
    structure = find_blocks(model)
    windows = texts(vocabulary=model.config.get_text_config().vocab_size)
    found.blocks = structure.blocks[0].name.removesuffix(".0")
    found.share = structure.prunable / max(structure.matrices, 1)
    last = [(name.rpartition(".")[2], why) for name, why in structure.excluded.items()]
    found.excluded = Counter(last)
    plain = plain_logits(model, windows)
    assert plain.isfinite().all(), "its logits are not finite"
    if (off := difference(replayed(capture(structure, windows, torch.device("cpu")), windows), plain)) > 0:
        raise AssertionError(f"replay differs by {off:.3g}")
    stream = capture(structure, windows, torch.device("cpu"))
    for block in structure.blocks[:2]:
        for linear in block.linears:
            halved(linear)
    pruned = plain_logits(model, windows)
    if (off := difference(replayed(stream, windows), pruned)) > 0:
        raise AssertionError(f"replay after pruning differs by {off:.3g}")
    assert not torch.equal(pruned, plain), "pruning changed nothing"
    adjust(family, attention, windows)
    found.exact.append(attention)


def overdue(*_: Any) -> None:
    raise TimeoutError(f"more than {SECONDS} s of CPU time")


def survey(families: list[str]) -> Iterator[Finding]:
    """Examine every family with both kinds of attention."""
    signal.signal(signal.SIGPROF, overdue)
    for family in families:
        found = Finding(family)
        for attention in ("sdpa", "eager"):
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
            try:
                examine(family, attention, found)
            except Exception as error:  # noqa: BLE001 (any error goes into the table)
                message = " ".join(str(error).split())[:160].replace("|", "\\|")
                found.faults.append(f"{attention}: {type(error).__name__}: {message}")
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
        print(family, found.exact, *found.faults, file=sys.stderr, flush=True)
        yield found


def table(findings: list[Finding]) -> str:
    """Return a page of Markdown: first the families that replay exactly, then the others with their errors."""
    good = [found for found in findings if found.exact]
    bad = [found for found in findings if not found.exact]
    low = sum(found.share < 0.5 for found in good)
    lines = [
        "# Model families",
        "",
        f"Written by `python benchmarks/families.py` with transformers {transformers.__version__}, torch "
        f"{torch.__version__}. Of its {len(findings)} causal families, {len(good)} can be built small and replay "
        "exactly: the logits after a replay block by block equal the model's own, also when the calls were captured "
        "before half of the weights of two blocks were zeroed; the largest difference is 0. In all of them, adjusting "
        "these blocks as a whole brought them nearer to their dense outputs. Weights and norms are random.",
        "",
        "Every family is built as a decoder (`is_decoder`). Ordinary checkpoints of families that read in both "
        "directions (BERT) or that have an encoder beside the decoder (BART) are refused all the same. So is RWKV with "
        "more than 6 blocks (`rescale_every`), as published ones have: transformers halves the hidden states after "
        "every sixth, so the blocks do not feed each other directly.",
        "",
        "*Prunable* is the share of the weights in the blocks' matrices that are in prunable layers, at these small "
        f"sizes; real sizes differ. Below one half ({low} families), a run requires `--partial`. *Attention* lists "
        "the kinds that the family supports.",
        "",
        "| family | blocks | prunable | attention | not prunable, by last name |",
        "|---|---|---|---|---|",
    ]
    for found in good:
        out = "; ".join(f"`{name}` ×{count}: {why}" for (name, why), count in sorted(found.excluded.items()))
        one = f"| {found.family} | `{found.blocks}` | {found.share:.0%} | {', '.join(found.exact)} | {out} |"
        lines.append(one)
    lines += ["", "## Replay not shown", "", "| family | error |", "|---|---|"]
    lines += [f"| {found.family} | {found.faults[0]} |" for found in bad]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="*", metavar="FAMILY", help="(default: all)")
    parser.add_argument("--out", type=Path, help="output file (default: standard output)")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.ERROR)
    torch.set_num_threads(1)
    findings: list[Finding] = []
    for found in survey(options.families or sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)):
        findings.append(found)
        if options.out:  # after every family: the last ones may take long
            options.out.write_text(table(findings), encoding="utf-8")
    if not options.out:
        print(table(findings))


if __name__ == "__main__":
    main()
