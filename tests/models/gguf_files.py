"""Write a tiny llama folder as a GGUF file, after the format's description."""

import json
from pathlib import Path

import gguf
from safetensors.torch import load_file
from torch import Tensor

TOP = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
IN_BLOCK = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def write_gguf(folder: Path, path: Path, leave_out: str = "", extra: dict[str, Tensor] | None = None) -> Path:
    """The model and tokenizer of `folder` as one float32 GGUF file.

    Args:
        folder: a tiny llama.
        path: of the file.
        leave_out: name of a weight in the folder that the file will lack.
        extra: further tensors, by their names in the file.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    bpe = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads["attn_q"])
    writer.add_head_count_kv(heads["attn_k"])
    writer.add_rope_dimension_count(config["hidden_size"] // heads["attn_q"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    tokens = sorted(bpe["vocab"], key=bpe["vocab"].__getitem__)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.CONTROL] + [gguf.TokenType.NORMAL] * (len(tokens) - 1))
    writer.add_token_merges([" ".join(pair) for pair in bpe["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    for key, weight in load_file(folder / "model.safetensors").items():
        name = _name(key.removesuffix(".weight"))
        if key != leave_out:
            kind = name.rpartition(".")[2]
            writer.add_tensor(f"{name}.weight", _interleaved(weight, heads[kind]) if kind in heads else weight.numpy())
    for name, tensor in (extra or {}).items():
        writer.add_tensor(name, tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _name(key: str) -> str:
    if key in TOP:
        return TOP[key]
    _, _, block, part = key.split(".", 3)
    return f"blk.{block}.{IN_BLOCK[part]}"


def _interleaved(weight: Tensor, heads: int):
    """GGUF keeps the two halves of a rotary head interleaved."""
    rows, columns = weight.shape
    return weight.view(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns).numpy()
