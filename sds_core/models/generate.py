"""Generate text by transformers' own `generate`: every family gets the inputs and the cache that it expects."""

from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList, PreTrainedModel

from sds_core.errors import SDSError, first_line
from sds_core.models.free_memory import out_of_memory


def generate(model: PreTrainedModel, ids: Tensor, temperature: float | None, seed: int, **settings: Any) -> Tensor:
    """Continue prompts of equal length; return the token ids (n, T + new) with the prompts.

    Args:
        model: a causal language model.
        ids: the prompts' token ids (n, T).
        temperature: tokens are drawn by their probabilities at this temperature, as `generate` draws them with
            `do_sample=True, top_k=0`; None for greedy search.
        seed: of the random numbers; the global generator is not used.
        settings: passed to `GenerationMixin.generate`; the model's own apply otherwise.

    Raises:
        SDSError: transformers cannot generate text with this model.
    """
    tokens = ids.to(model.device)
    draw = [] if temperature is None else [_Draw(temperature, torch.Generator(model.device).manual_seed(seed))]
    run: Any = model.generate  # typed as a tensor
    try:
        return run(
            tokens,
            attention_mask=torch.ones_like(tokens),
            do_sample=False,
            num_beams=1,
            num_return_sequences=1,
            return_dict_in_generate=False,
            logits_processor=LogitsProcessorList(draw),
            **settings,
        ).cpu()
    except (AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        family = model.config.model_type
        refusal = f"transformers cannot generate text with this {family} model: {first_line(error)}"
        raise out_of_memory(error) or SDSError(refusal) from error


class _Draw(LogitsProcessor):
    """Draw a token with its own random generator, and leave it as the only choice for greedy search."""

    def __init__(self, temperature: float, generator: torch.Generator):
        self._temperature, self._generator = temperature, generator

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        probabilities = (scores / self._temperature).softmax(-1)
        drawn = torch.multinomial(probabilities, 1, generator=self._generator)
        return torch.full_like(scores, -torch.inf).scatter(1, drawn, 0.0)
