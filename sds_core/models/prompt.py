"""A model's loss on each token of a text, and its continuation of the text."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel, PreTrainedTokenizerBase, StoppingCriteria, StoppingCriteriaList

from sds_core.errors import SDSError
from sds_core.models.calibration import tokenize
from sds_core.models.generate import generate
from sds_core.models.load import LoadedModel
from sds_core.models.model_config import position_limit
from sds_core.models.special_tokens import end_tokens, special_tokens

MOST_TOKENS = 512
"""Longest text: its logits, tokens × vocabulary, are in memory at once."""


def token_ids(loaded: LoadedModel, text: str, follow: int) -> Tensor:
    """Return the text's token ids (T,) after the tokenizer's start tokens; without the chat template.

    Trailing end-of-text tokens are removed, whoever added them: a continuation would begin another text.

    Args:
        loaded: model and tokenizer.
        text: the prompt.
        follow: tokens to generate after it.

    Raises:
        SDSError: the text has no token or too many for the model, `follow` more included, or model and tokenizer do
            not belong together.
    """
    ids, ends = tokenize(loaded, text), end_tokens(loaded)
    while len(ids) and int(ids[-1]) in ends:
        ids = ids[:-1]
    if len(ids):
        ids = torch.cat([torch.tensor(special_tokens(loaded).before, dtype=torch.int64), ids])
    positions = position_limit(loaded.model.config)
    most = MOST_TOKENS if positions is None else min(MOST_TOKENS, positions - follow)
    if most < 1:
        raise SDSError(f"{follow} tokens are too many to follow", allowed=f"{loaded.name} knows {positions} in all")
    if not len(ids):
        raise SDSError("the text has no token", got=text, cure="write a word or more")
    if len(ids) > most:
        raise SDSError(
            f"the text has {len(ids)} tokens", allowed=f"1 to {most} before the {follow} that follow", cure="shorten it"
        )
    return ids


def token_losses(model: PreTrainedModel, ids: Tensor) -> list[float]:
    """Loss in nats of every token but the first, (T − 1): −log of the probability that the model gave it.

    Raises:
        SDSError: a loss is not a number.
    """
    with torch.inference_mode():
        scores = model(ids[None].to(model.device), use_cache=False).logits[0, :-1]
        losses = cross_entropy(scores.float(), ids[1:].to(scores.device), reduction="none").tolist()
    if not all(map(math.isfinite, losses)):
        raise SDSError(
            "the model’s loss on a token of this text is not a number",
            cure="its activations overflow: prune it in float32",
        )
    return losses


def continuation(
    model: PreTrainedModel,
    ids: Tensor,
    count: int,
    temperature: float | None = None,
    seed: int = 0,
    after_token: Callable[[], None] = lambda: None,
) -> list[int]:
    """Continue a text by transformers' own `generate`, with the model's generation settings.

    Args:
        model: a causal language model.
        ids: token ids (T,) of the text.
        count: maximum number of new tokens.
        temperature: tokens are drawn by their probabilities at this temperature; None for greedy search.
        seed: of the random numbers.
        after_token: called after every token; an exception ends the generation.

    Returns:
        Token ids, without the one that ends the text.

    Raises:
        SDSError: transformers cannot generate text with this family of models.
    """
    ends = _ends(model)
    criteria = StoppingCriteriaList([_AfterToken(after_token)])
    whole = generate(
        model,
        ids[None],
        temperature,
        seed,
        max_new_tokens=count,
        pad_token_id=min(ends, default=0),
        stopping_criteria=criteria,
    )
    new = whole[0, len(ids) :].tolist()
    return new[:-1] if new and new[-1] in ends else new


def _ends(model: PreTrainedModel) -> set[int]:
    """Return the ids of the tokens at which `generate` stops."""
    ends = model.generation_config.eos_token_id if model.generation_config else None
    return {ends} if isinstance(ends, int) else set(ends or ())


class _AfterToken(StoppingCriteria):
    """Call a function after every token; never stop."""

    def __init__(self, function: Callable[[], None]):
        self._function = function

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        self._function()
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


def pieces(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> list[str]:
    """Return the piece of text that each token adds; joined they are the text.

    A token may hold only part of a character: it adds nothing, and the character's last token adds it.
    """
    found, shown = list[str](), ""
    for stop in range(1, len(ids) + 1):
        text = str(tokenizer.decode(list(ids[:stop]), clean_up_tokenization_spaces=False))
        whole = text if stop == len(ids) else text.rstrip("\N{REPLACEMENT CHARACTER}")
        found.append(whole[len(shown) :])
        shown = max(shown, whole, key=len)
    return found
