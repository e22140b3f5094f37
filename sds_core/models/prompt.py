"""How a model reads one text, token by token, and how it would go on with it."""

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sds_core.errors import SDSError
from sds_core.models.calibration import tokenized
from sds_core.models.load import LoadedModel

MOST_TOKENS = 512
"""Of a text that is read: its logits, tokens × vocabulary, are in memory at once."""


def token_ids(loaded: LoadedModel, text: str, follow: int) -> Tensor:
    """The text's token ids (T,), as the tokenizer makes them by default; without the chat template.

    Raises:
        SDSError: the text has no token or too many for the model, `follow` more included, or model and tokenizer do
            not belong together.
    """
    ids = tokenized(loaded, text)
    positions = getattr(loaded.model.config.get_text_config(), "max_position_embeddings", None) or math.inf
    most = int(min(MOST_TOKENS, positions - follow))
    if most < 1:
        raise SDSError(f"{follow} tokens are too many to follow", allowed=f"{loaded.name} knows {positions} in all")
    if not 1 <= len(ids) <= most:
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


def likeliest(scores: Tensor) -> int:
    """The token with the highest of scores (V)."""
    return int(scores.argmax())


def sampler(temperature: float, seed: int) -> Callable[[Tensor], int]:
    """A chooser of tokens by their probability at a temperature; the same seed draws the same for the same scores."""
    generator = torch.Generator().manual_seed(seed)

    def draw(scores: Tensor) -> int:
        probabilities = torch.softmax(scores.double().cpu() / temperature, 0)
        return int(torch.multinomial(probabilities, 1, generator=generator))

    return draw


def continuation(
    model: PreTrainedModel, ids: Tensor, count: int, choose: Callable[[Tensor], int] = likeliest
) -> Iterator[int]:
    """Yield the token that is chosen next, again and again: at most `count`, up to one that ends the text.

    What ends a text says the model's generation configuration; that token is not yielded.

    Args:
        model: it reads and continues.
        ids: token ids (T,) of the text.
        count: most tokens.
        choose: the next token by the scores (V) of all; by default the likeliest, the same every time.
    """
    ends = model.generation_config.eos_token_id if model.generation_config else None
    ends = {ends} if isinstance(ends, int) else set(ends or ())
    tokens, cache = ids[None].to(model.device), None
    for _ in range(count):
        with torch.inference_mode():
            output = model(tokens, cache=cache, use_cache=True)
        chosen = choose(output.logits[0, -1])
        if chosen in ends:
            return
        cache, tokens = output.cache, torch.tensor([[chosen]], device=model.device)
        yield chosen


def pieces(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> list[str]:
    """Return the piece of text that each token adds, in order; joined they are the text.

    A token may hold a part of a character only: it adds nothing, and the last part adds the character.
    """
    found, shown = list[str](), ""
    for stop in range(1, len(ids) + 1):
        text = str(tokenizer.decode(list(ids[:stop]), clean_up_tokenization_spaces=False))
        whole = text if stop == len(ids) else text.rstrip("\N{REPLACEMENT CHARACTER}")
        found.append(whole[len(shown) :])
        shown = max(shown, whole, key=len)
    return found
