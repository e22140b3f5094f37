"""Generate text by transformers' own `generate`: every family gets the inputs and the cache that it expects."""

from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from sds_core.errors import SDSError, first_line

GREEDY: dict[str, Any] = {"do_sample": False}
SAMPLING: dict[str, Any] = {"do_sample": True, "top_k": 0, "top_p": 1.0}
"""From the whole distribution: by default transformers draws from the 50 likeliest tokens only."""


def generate(model: PreTrainedModel, ids: Tensor, seed: int, **settings: Any) -> Tensor:
    """Return token ids (n, T + new) of texts that go on with prompts of one length.

    Global random numbers are left as they were.

    Args:
        model: a causal language model.
        ids: the prompts' token ids (n, T).
        seed: of the random numbers.
        settings: of `GenerationMixin.generate`; where they are silent, those of the model hold.

    Raises:
        SDSError: transformers cannot generate text with this family of models.
    """
    tokens = ids.to(model.device)
    run: Any = model.generate  # typed as a tensor
    with torch.random.fork_rng([model.device] if model.device.type == "cuda" else []), torch.inference_mode():
        torch.manual_seed(seed)
        try:
            return run(tokens, attention_mask=torch.ones_like(tokens), return_dict_in_generate=False, **settings).cpu()
        except torch.OutOfMemoryError:
            raise
        except (
            AttributeError,
            IndexError,
            KeyError,
            NotImplementedError,
            RuntimeError,
            TypeError,
            ValueError,
        ) as error:
            family = model.config.model_type
            raise SDSError(
                f"transformers cannot generate text with this {family} model: {first_line(error)}"
            ) from error
