"""The special tokens that a tokenizer adds around a text."""

from collections.abc import Sequence
from dataclasses import dataclass

from sds_core.errors import SDSError
from sds_core.models.encode import encode
from sds_core.models.load import LoadedModel


@dataclass(frozen=True)
class SpecialTokens:
    """Token ids that a tokenizer adds before and after every text; most often none, or one before it."""

    before: tuple[int, ...]
    after: tuple[int, ...]


PROBES = ("a", "the", "1", ".", "你")
"""Short texts; every tokenizer has a token for at least one."""


def special_tokens(loaded: LoadedModel) -> SpecialTokens:
    """Find the special tokens by tokenizing a short text with and without them.

    Raises:
        SDSError: the tokenizer does more than add tokens, or the model does not know them.
    """
    plain = {text: encode(loaded, text) for text in PROBES}
    text = next((text for text in PROBES if plain[text]), PROBES[0])
    whole, alone = encode(loaded, text, special=True), plain[text]
    for start in range(len(whole) - len(alone) + 1):
        if alone and whole[start : start + len(alone)] == alone:
            check_vocabulary(loaded, whole[:start])
            return SpecialTokens(tuple(whole[:start]), tuple(whole[start + len(alone) :]))
    raise SDSError(
        f"the tokenizer of {loaded.name} splits a text differently when it adds special tokens",
        cure="correct its post-processor: it may only add tokens before and after a text",
    )


def start_tokens(loaded: LoadedModel) -> tuple[int, ...]:
    """Return the token ids that a text begins with.

    Those that the tokenizer adds, or else its begin-of-text token, or else its end-of-text token.

    Raises:
        SDSError: it has none of these.
    """
    tokenizer = loaded.tokenizer
    if added := special_tokens(loaded).before:
        return added
    start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    if start is None:
        raise SDSError(f"the tokenizer of {loaded.name} has no token to begin or end a text with")
    return (start,)


def check_vocabulary(loaded: LoadedModel, ids: Sequence[int]) -> None:
    """Refuse token ids beyond the model's vocabulary.

    Raises:
        SDSError: there are some.
    """
    vocabulary = loaded.model.config.get_text_config().vocab_size
    if ids and max(ids) >= vocabulary:
        raise SDSError(
            f"the tokenizer of {loaded.name} knows token {max(ids)}, its model only {vocabulary} of them",
            cure="model and tokenizer do not belong together: load a matching pair",
        )


def end_tokens(loaded: LoadedModel) -> set[int]:
    """Return the ids of end-of-text tokens, from tokenizer and generation configuration."""
    settings = loaded.model.generation_config
    by_model = settings.eos_token_id if settings else None
    ends = [loaded.tokenizer.eos_token_id, *special_tokens(loaded).after]
    return {end for end in [*ends, *(by_model if isinstance(by_model, list) else [by_model])] if end is not None}
