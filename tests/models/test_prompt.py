"""One text through a model: against plain logits, against transformers' own search, byte for byte."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from sds_core.errors import SDSError
from sds_core.models.load import load_model
from sds_core.models.prompt import MOST_TOKENS, continuation, pieces, token_ids, token_losses
from tests.models.families import RECURRENT, build, build_any, memoryless
from tests.models.tokenizers import with_template


@pytest.fixture(scope="module")
def loaded(tiny_folder):
    return load_model(str(tiny_folder))


def test_token_loss_is_minus_log_probability(loaded):
    ids = token_ids(loaded, "The model reads a text.", 5)
    with torch.inference_mode():
        chances = loaded.model(ids[None]).logits[0].double().softmax(-1)
    expected = [-float(chances[i - 1, ids[i]].log()) for i in range(1, len(ids))]
    assert len(ids) > 5 and token_losses(loaded.model, ids) == pytest.approx(expected, rel=1e-5)


def test_one_token_has_no_loss_and_a_continuation(loaded):
    ids = token_ids(loaded, "x", 3)
    assert len(ids) == 1 and token_losses(loaded.model, ids) == []
    assert len(continuation(loaded.model, ids, 3)) == 3


def plain_generate(model: PreTrainedModel, ids: torch.Tensor, count: int, **settings: Any) -> list[int]:
    """New tokens of a direct call of transformers' `generate`."""
    return model.generate(ids[None], max_new_tokens=count, pad_token_id=0, **settings)[0, len(ids) :].tolist()


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma3_text", *RECURRENT])
def test_continuations_equal_generate_greedy_and_sampled(name):
    model, ids = build_any(name), torch.tensor([7, 30, 12, 55, 3])
    model.generation_config.eos_token_id = None
    greedy = plain_generate(model, ids, 12, do_sample=False)
    assert continuation(model, ids, 12) == greedy and len(greedy) == 12
    torch.manual_seed(3)
    sampled = plain_generate(model, ids, 12, do_sample=True, temperature=0.8, top_k=0)
    assert continuation(model, ids, 12, 0.8, seed=3) == sampled != greedy


@pytest.mark.parametrize("name", RECURRENT)
def test_recurrent_families_continue_as_without_a_cache(name):
    model, ids = build_any(name), torch.tensor([7, 30, 12, 55, 3])
    model.generation_config.eos_token_id = None
    whole = ids.clone()
    with torch.inference_mode():
        for _ in range(12):
            best = model(whole[None], use_cache=False).logits[0, -1].argmax()
            whole = torch.cat([whole, best[None]])
    assert continuation(model, ids, 12) == whole[5:].tolist()


def test_a_continuation_ends_before_an_end_token():
    model, ids = build("llama"), torch.tensor([7, 30, 12, 55])
    model.generation_config.eos_token_id = None
    whole = continuation(model, ids, 12)
    model.generation_config.eos_token_id = [whole[5], 10**6]
    assert continuation(model, ids, 12) == whole[: whole.index(whole[5])]


def test_the_models_generation_settings_hold():
    model, ids = build("llama"), torch.tensor([7, 30, 12, 55])
    model.generation_config.eos_token_id = None
    plain = continuation(model, ids, 12)
    model.generation_config.suppress_tokens = plain
    assert not set(continuation(model, ids, 12)) & set(plain)


def test_sampled_tokens_have_the_probabilities_of_their_temperature():
    model = memoryless({3: 1.0, 50: 0.0, 90: 2.0, 91: -1.0})
    model.generation_config.eos_token_id = None
    drawn = torch.tensor(
        [token for seed in range(16) for token in continuation(model, torch.tensor([7]), 50, 0.5, seed)]
    )
    expected = torch.tensor([2.0, 0.0, 4.0, -2.0]).exp() / torch.tensor([2.0, 0.0, 4.0, -2.0]).exp().sum()
    counts = torch.tensor([(drawn == token).sum() for token in (3, 50, 90, 91)])
    assert counts / 800 == pytest.approx(expected.numpy(), abs=0.04)


def test_the_same_seed_samples_the_same(loaded):
    ids, before = token_ids(loaded, "The model", 12), torch.get_rng_state()
    first, again, other = (continuation(loaded.model, ids, 12, 1.0, seed) for seed in (0, 0, 1))
    assert first == again != other and first != continuation(loaded.model, ids, 12)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_family_that_cannot_generate_is_named(monkeypatch):
    model = build("llama")
    monkeypatch.setattr(model, "prepare_inputs_for_generation", None)
    with pytest.raises(SDSError, match="transformers cannot generate text with this llama model: "):
        continuation(model, torch.tensor([7]), 3)


def test_a_prompt_has_start_tokens_and_no_end_tokens(loaded):
    plain = token_ids(loaded, "The model", 5).tolist()
    tokenizer = with_template(loaded.tokenizer, "A $A <s> <s>")
    with_start = replace(loaded, tokenizer=tokenizer)
    start = tokenizer.convert_tokens_to_ids("A")
    assert tokenizer("The model").input_ids == [start, *plain, 0, 0]
    assert token_ids(with_start, "The model", 5).tolist() == [start, *plain]
    assert token_ids(with_start, "The model<s>", 5).tolist() == [start, *plain]


@pytest.mark.parametrize("text", ["Pruning removes half.", "  two  spaces\n\n", "größer 🧮 ≤ 漢字", "<s>&amp;\ufffd"])
def test_pieces_join_to_the_text(loaded, text):
    ids = token_ids(loaded, text, 1).tolist()
    found = pieces(loaded.tokenizer, ids)
    assert "".join(found) == text and len(found) == len(ids)


def test_a_character_of_several_tokens_comes_with_its_last(loaded):
    assert pieces(loaded.tokenizer, token_ids(loaded, "🧮x", 1).tolist()) == ["", "", "", "🧮", "x"]


def test_texts_that_do_not_fit_say_how_much_does(loaded):
    with pytest.raises(SDSError, match="the text has 300 tokens; allowed: 1 to 216 before the 40 that follow"):
        token_ids(loaded, "é" * 150, 40)
    assert len(token_ids(loaded, "é" * 108, 40)) == 216
    with pytest.raises(SDSError, match=r"256 tokens are too many to follow; allowed: .* knows 256 in all"):
        token_ids(loaded, "x", 256)
    with pytest.raises(SDSError, match=r"the text has no token.*Write a word or more"):
        token_ids(loaded, "", 40)


def test_the_logits_of_a_long_text_stay_within_memory(loaded, monkeypatch):
    monkeypatch.setattr(loaded.model.config, "max_position_embeddings", 10**6)
    with pytest.raises(SDSError, match=f"allowed: 1 to {MOST_TOKENS} before"):
        token_ids(loaded, "é" * 400, 40)


def test_a_loss_that_is_no_number_is_an_error():
    model = build("llama")
    model.get_output_embeddings().weight.data.fill_(torch.nan)
    with pytest.raises(SDSError, match="is not a number"):
        token_losses(model, torch.tensor([1, 2, 3]))


def test_minus_one_means_no_limit_of_positions(loaded, monkeypatch):
    monkeypatch.setattr(loaded.model.config, "max_position_embeddings", -1)
    assert len(token_ids(loaded, "é" * 250, 40)) == 500
