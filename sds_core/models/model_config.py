"""A model's configuration, and the model built from it without weights.

A hostile or broken configuration is refused here, before memory is touched.
"""

from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from sds_core.errors import SDSError, first_line
from sds_core.files import parse_json
from sds_core.models.known_families import refuse_encoder_decoder
from sds_core.models.weight_files import CONFIG, NAMED_FILE, refuse_other_weights

UNLIMITED = 1 << 30
"""Length of a sliding window that no text reaches, in tokens."""
MAX_BLOCKS = 1024
"""A deeper model is refused as a mistake: even on `meta` every block costs time and memory."""


def read_config(folder: Path) -> PreTrainedConfig:
    """The configuration of the model in a folder, as transformers reads it.

    Raises:
        SDSError: transformers cannot read it, it asks for code of its own or for other weights, or is no decoder alone.
    """
    try:
        config = _without_implementations(
            AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        )
        _remove_absent_limit(config.get_text_config())
    except Exception as error:  # a hostile configuration makes the libraries raise errors of any type
        raise _bad_config(folder, error) from error
    refuse_encoder_decoder(config.is_encoder_decoder, folder)
    refuse_other_weights(getattr(config, NAMED_FILE, None), folder)
    return config


def _without_implementations(config: PreTrainedConfig) -> PreTrainedConfig:
    """Leave attention and experts to transformers: a file could name kernels on the hub, which are code."""
    config._attn_implementation = config._experts_implementation = None
    for name in config.sub_configs:
        if isinstance(part := getattr(config, name, None), PreTrainedConfig):
            _without_implementations(part)
    return config


def _remove_absent_limit(config: PreTrainedConfig) -> None:
    """Write a sliding window that means no limit (0, −1 or null) as transformers understands it.

    It takes 0 and −1 for a window without any key, and refuses null where layers are declared sliding. Layer types are
    kept: they may decide more than the window, such as the base of rotary embeddings. Qwen2-MoE writes 0 where none
    slides, and makes the mask of a window all the same.
    """
    window = getattr(config, "sliding_window", 1)
    if window is None or window <= 0:
        types = getattr(config, "layer_types", None) or []
        masked = "sliding_attention" in types or (types and window is not None)
        config.sliding_window = UNLIMITED if masked else None


def position_limit(config: PreTrainedConfig) -> int | None:
    """Return a model's maximum number of positions; None for no limit, which some configurations write as −1."""
    limit = getattr(config.get_text_config(), "max_position_embeddings", None)
    return int(limit) if limit and limit > 0 else None


def refuse_long_windows(config: PreTrainedConfig, length: int, name: str) -> None:
    """Refuse windows of more tokens than a model has positions.

    Args:
        config: its configuration.
        length: tokens in a window.
        name: its name, for the message.

    Raises:
        SDSError: they are longer.
    """
    positions = position_limit(config)
    if positions and length > positions:
        raise SDSError(f"windows of {length} tokens are too long", allowed=f"{name} knows {positions}")


def build_skeleton(source: Path, config: PreTrainedConfig, dtype: str) -> PreTrainedModel:
    """Build the model on `meta`, without weights; this takes no memory.

    Args:
        source: the model's folder or file, for messages.
        config: its configuration.
        dtype: its precision, `auto` for its own.

    Raises:
        SDSError: no model can be built from this configuration, or one without blocks.
    """
    chosen = {} if dtype == "auto" else {"dtype": dtype}
    try:
        layers = getattr(config.get_text_config(), "num_hidden_layers", 1)
        if not 1 <= layers <= MAX_BLOCKS:
            allowed = f"1 to {MAX_BLOCKS}"
            raise SDSError(f"bad configuration in {source}: num_hidden_layers", got=layers, allowed=allowed)
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config, trust_remote_code=False, **chosen)
    except SDSError:
        raise
    except Exception as error:  # as above
        raise _bad_config(source, error) from error


def _bad_config(source: Path, error: Exception) -> SDSError:
    """Name the sizes below 1: the libraries' own message is often no more than `division by zero`."""
    try:
        fields = parse_json((source / CONFIG).read_text(encoding="utf-8")).items()
    except (OSError, ValueError, AttributeError):
        fields = []
    suspects = [f"{key} is {value}" for key, value in fields if type(value) is int and value < 1 and key[-3:] != "_id"]
    hint = f" ({', '.join(suspects)})" if suspects else ""
    return SDSError(
        f"bad configuration in {source}: {first_line(error).rstrip(':')}{hint}",
        allowed="the configuration of a causal language model of transformers, without code of its own",
    )
