"""Models that look ahead are refused, whatever family they are of; causal ones are not, in any precision."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from sds_core.errors import SDSError
from sds_core.models.check_model import check_model
from sds_core.models.load import load_model
from sds_core.models.structure import find_blocks
from tests.models.families import LLAMA, build, build_any, randomised

BOTH_WAYS = {
    "bert": {},
    "roberta": {},
    "llama": {"is_causal": False, "num_key_value_heads": 2},
    "gemma3_text": {"use_bidirectional_attention": True, "head_dim": 8, "num_key_value_heads": 2},
}
ENCODER = {key: value for key, value in LLAMA.items() if key != "num_key_value_heads"}


@pytest.mark.parametrize("name", BOTH_WAYS)
def test_a_model_that_reads_in_both_directions_is_refused(name: str) -> None:
    config = AutoConfig.for_model(name, **{"vocab_size": 96, **ENCODER, **BOTH_WAYS[name]})
    model = randomised(AutoModelForCausalLM.from_config(config))
    with pytest.raises(SDSError, match="reads a text in both directions"):
        find_blocks(model)


@pytest.mark.parametrize("check", [load_model, check_model])
def test_an_encoder_with_a_decoder_is_refused(folder: Path, check: Callable[[str], object]) -> None:
    AutoConfig.for_model("t5", vocab_size=288, d_model=32).save_pretrained(folder)
    with pytest.raises(SDSError, match="is an encoder with a decoder"):
        check(str(folder))


def test_an_encoder_made_a_decoder_is_taken() -> None:
    config = AutoConfig.for_model("bert", vocab_size=96, is_decoder=True, **ENCODER)
    assert len(find_blocks(randomised(AutoModelForCausalLM.from_config(config))).blocks) == 3


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["llama", "mixtral", "bamba"])
def test_rounding_is_not_taken_for_looking_ahead(name: str, dtype: torch.dtype) -> None:
    find_blocks(build_any(name).to(dtype))


def test_a_window_that_slides_is_no_looking_ahead() -> None:
    find_blocks(build("mistral", sliding_window=2))
