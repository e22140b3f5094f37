"""Tiny random models of many families, and what `find_blocks` is expected to find in each.

Weights, biases and norm weights are all random: a branch that starts at zero, or a norm that starts at one, hides bugs.
"""

from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

VOCABULARY = 96
WINDOW = 8
"""Sliding windows are this long: shorter than the texts of the tests."""

Groups = tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Family:
    """How to build a tiny model of one family, and the expected structure."""

    options: dict[str, Any]
    blocks: str
    """Dotted name of the list of decoder blocks."""
    groups: Groups
    """Labels of the prunable linears; those of one group receive the same input."""
    attention: tuple[str, ...] = ("sdpa", "eager")
    model_type: str = ""
    """Where it differs from the name of the entry."""


LLAMA = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
MIXED = {**LLAMA, "head_dim": 8, "sliding_window": WINDOW, "num_hidden_layers": 4}
MIXED_TYPES = ["sliding_attention", "full_attention", "sliding_attention", "full_attention"]
QKV = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
GATED: Groups = (QKV, ("self_attn.o_proj",), ("mlp.gate_proj", "mlp.up_proj"), ("mlp.down_proj",))
OPT = {
    "hidden_size": 32,
    "ffn_dim": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
OPT_LINEARS: Groups = (QKV, ("self_attn.out_proj",), ("fc1",), ("fc2",))
GPT2 = {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_inner": 48, "n_positions": 64}
FUSED: Groups = (
    ("self_attention.query_key_value",),
    ("self_attention.dense",),
    ("mlp.dense_h_to_4h",),
    ("mlp.dense_4h_to_h",),
)

FAMILIES = {
    "opt": Family(OPT, "model.decoder.layers", OPT_LINEARS),
    "opt-350m": Family(
        {**OPT, "word_embed_proj_dim": 16, "do_layer_norm_before": False},
        "model.decoder.layers",
        OPT_LINEARS,
        ("sdpa",),
        "opt",
    ),
    "gpt2": Family(GPT2, "transformer.h", (("attn.c_attn",), ("attn.c_proj",), ("mlp.c_fc",), ("mlp.c_proj",))),
    "llama": Family(LLAMA, "model.layers", GATED),
    "gpt_neox": Family(
        {**LLAMA, "use_parallel_residual": True},
        "gpt_neox.layers",
        (("attention.query_key_value",), ("attention.dense",), ("mlp.dense_h_to_4h",), ("mlp.dense_4h_to_h",)),
    ),
    "gemma3_text": Family({**MIXED, "layer_types": MIXED_TYPES}, "model.layers", GATED),
    "qwen3": Family({**LLAMA, "head_dim": 8}, "model.layers", GATED),
    "phi": Family(LLAMA, "model.layers", ((*QKV, "mlp.fc1"), ("self_attn.dense",), ("mlp.fc2",))),
    "bloom": Family({"hidden_size": 32, "n_layer": 3, "n_head": 4}, "transformer.h", FUSED, ("eager",)),
    "gpt_neo": Family(
        {
            "hidden_size": 32,
            "num_layers": 4,
            "num_heads": 4,
            "attention_types": [[["global", "local"], 2]],
            "window_size": WINDOW,
            "max_position_embeddings": 64,
        },
        "transformer.h",
        (
            ("attn.attention.q_proj", "attn.attention.k_proj", "attn.attention.v_proj"),
            ("attn.attention.out_proj",),
            ("mlp.c_fc",),
            ("mlp.c_proj",),
        ),
        ("eager",),
    ),
    "gptj": Family(
        {**GPT2, "rotary_dim": 4},
        "transformer.h",
        (("attn.q_proj", "attn.k_proj", "attn.v_proj", "mlp.fc_in"), ("attn.out_proj",), ("mlp.fc_out",)),
        ("eager",),
    ),
    "mistral": Family({**LLAMA, "head_dim": 8, "sliding_window": WINDOW}, "model.layers", GATED),
    "qwen2": Family({**MIXED, "use_sliding_window": True, "layer_types": MIXED_TYPES}, "model.layers", GATED),
    "gemma2": Family({**MIXED, "layer_types": MIXED_TYPES}, "model.layers", GATED, ("eager",)),
    "falcon": Family(
        {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4},
        "transformer.h",
        (("self_attention.query_key_value", "mlp.dense_h_to_4h"), ("self_attention.dense",), ("mlp.dense_4h_to_h",)),
    ),
    "mpt": Family(
        {"d_model": 32, "n_layers": 3, "n_heads": 4, "max_seq_len": 64},
        "transformer.blocks",
        (("attn.Wqkv",), ("attn.out_proj",), ("ffn.up_proj",), ("ffn.down_proj",)),
        ("eager",),
    ),
    "olmo2": Family(LLAMA, "model.layers", GATED),
}

CASES = [(name, attention) for name, family in FAMILIES.items() for attention in family.attention]
"""Every family with every kind of attention it knows."""


def build(name: str, attention: str = "eager", seed: int = 0, **changes: Any) -> PreTrainedModel:
    """A tiny model of the family with random weights, in evaluation mode; `changes` go into its configuration."""
    family = FAMILIES[name]
    options = {"vocab_size": VOCABULARY, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    config = AutoConfig.for_model(family.model_type or name, **{**options, **family.options, **changes})
    model = AutoModelForCausalLM.from_config(config, attn_implementation=attention, dtype=torch.float32)
    return randomised(model, seed)


RECURRENT: dict[str, dict[str, Any]] = {
    "bamba": {**LLAMA, "num_hidden_layers": 4, "attn_layer_indices": [1, 3]}
    | {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_n_groups": 1},
    "recurrent_gemma": {**LLAMA, "num_hidden_layers": 4, "head_dim": 8, "attention_window_size": WINDOW},
    "rwkv": {"hidden_size": 32, "attention_hidden_size": 32, "num_hidden_layers": 3, "context_length": 64},
    "openai-gpt": {**GPT2},
}
"""Families whose cache is not that of attention alone, or that have none."""


ROUTED = {**LLAMA, "head_dim": 8, "num_experts_per_tok": 2}
MIXTURES: dict[str, dict[str, Any]] = {
    "mixtral": {**ROUTED, "num_local_experts": 4},
    "qwen3_moe": {**ROUTED, "num_experts": 8, "moe_intermediate_size": 24},
    "gpt_oss": {**ROUTED, "num_local_experts": 4, "sliding_window": WINDOW},
    "llama4_text": {**ROUTED, "num_local_experts": 4, "num_experts_per_tok": 1, "intermediate_size_mlp": 40}
    | {"interleave_moe_layer_step": 1},
    "deepseek_v3": {**ROUTED, "n_routed_experts": 4, "n_group": 1, "topk_group": 1, "moe_intermediate_size": 24}
    | {"first_k_dense_replace": 1, "q_lora_rank": 16, "kv_lora_rank": 16, "num_key_value_heads": 4}
    | {"qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8},
    "jetmoe": {**LLAMA, "kv_channels": 8, "num_local_experts": 4, "num_experts_per_tok": 2},
}
"""Families whose experts are stored as one parameter for each projection; gpt_oss and llama4_text transpose them."""


def build_any(name: str, **changes: Any) -> PreTrainedModel:
    """A tiny model of one of `FAMILIES`, `RECURRENT` or `MIXTURES`, as `build` makes them."""
    if name in FAMILIES:
        return build(name, **changes)
    options = {"vocab_size": VOCABULARY, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    config = AutoConfig.for_model(name, **options | (RECURRENT | MIXTURES)[name] | changes)
    return randomised(AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=torch.float32))


def memoryless(scores: dict[int, float], elsewhere: float = -1e4) -> PreTrainedModel:
    """A model whose next token never depends on what was read: logits are `scores`, and `elsewhere` for the rest."""
    model = build("gpt2", tie_word_embeddings=False)
    with torch.no_grad():
        model.transformer.ln_f.weight.zero_()
        model.transformer.ln_f.bias.zero_()[0] = 1
        model.lm_head.weight.zero_()[:, 0] = elsewhere
        for token, score in scores.items():
            model.lm_head.weight[token, 0] = score
    return model


def randomised(model: PreTrainedModel, seed: int = 0) -> PreTrainedModel:
    """Every parameter drawn anew: matrices around zero, norm weights and biases well away from one and zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim > 1:
                parameter.copy_(0.2 * noise)
            elif name.endswith("bias"):
                parameter.copy_(0.1 * noise)
            else:
                parameter.copy_(1 + 0.3 * noise)
    return model.eval()


def texts(count: int = 2, length: int = 20, vocabulary: int = VOCABULARY, seed: int = 1) -> torch.Tensor:
    """Random token ids (count, length); no two windows are equal."""
    return torch.randint(vocabulary, (count, length), generator=torch.Generator().manual_seed(seed))


def plain_logits(model: PreTrainedModel, windows: torch.Tensor) -> torch.Tensor:
    """Logits (n, T, V) of ordinary forward passes, one window at a time as the streams do."""
    with torch.inference_mode():
        return torch.cat([model(window[None], use_cache=False).logits for window in windows])


def plain_inputs(model: PreTrainedModel, windows: torch.Tensor, names: list[str]) -> dict[str, torch.Tensor]:
    """What the named modules receive in ordinary forward passes, as X (N, C) in float64."""
    seen: dict[str, list[torch.Tensor]] = {name: [] for name in names}
    handles = [
        model.get_submodule(name).register_forward_pre_hook(lambda _, args, name=name: seen[name].append(args[0]))
        for name in names
    ]
    plain_logits(model, windows)
    for handle in handles:
        handle.remove()
    return {name: torch.cat(parts).flatten(0, -2).double() for name, parts in seen.items()}
