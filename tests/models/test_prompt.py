"""One text through a model: against plain logits, against transformers' own greedy search, byte for byte."""

import pytest
import torch

from sds_core.errors import SDSError
from sds_core.models.load import load_model
from sds_core.models.prompt import MOST_TOKENS, continuation, pieces, sampler, token_ids, token_losses
from tests.models.families import build


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
    assert len(list(continuation(loaded.model, ids, 3))) == 3


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_the_continuation_is_what_transformers_writes_without_sampling(name):
    model = build(name)
    ids = torch.tensor([7, 30, 12, 55])
    model.generation_config.eos_token_id = None
    whole = model.generate(ids[None], do_sample=False, max_new_tokens=12, pad_token_id=0)[0].tolist()
    assert list(continuation(model, ids, 12)) == whole[4:] and len(whole) == 16
    model.generation_config.eos_token_id = [whole[9], 10**6]
    until = whole.index(whole[9], 4)
    assert list(continuation(model, ids, 12)) == whole[4:until]
    ended = model.generate(ids[None], do_sample=False, max_new_tokens=12, pad_token_id=0)[0].tolist()
    assert ended == whole[: until + 1]


def test_sampled_tokens_have_the_probabilities_of_their_temperature():
    scores, draw = torch.tensor([1.0, 0.0, 2.0, -1.0]), sampler(0.5, seed=0)
    counts = torch.bincount(torch.tensor([draw(scores) for _ in range(4000)]), minlength=4)
    expected = torch.tensor([2.0, 0.0, 4.0, -2.0]).exp() / torch.tensor([2.0, 0.0, 4.0, -2.0]).exp().sum()
    assert counts / 4000 == pytest.approx(expected.numpy(), abs=0.03)


def test_the_same_seed_samples_the_same(loaded):
    ids = token_ids(loaded, "The model", 12)
    first, again, other = (list(continuation(loaded.model, ids, 12, sampler(1.0, seed))) for seed in (0, 0, 1))
    assert first == again != other and first != list(continuation(loaded.model, ids, 12))


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
    with pytest.raises(SDSError, match="the text has 0 tokens"):
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
