"""Text the model writes itself: calibration without any data set (used as the text source `self`)."""

from collections.abc import Iterator

import torch
from transformers import PreTrainedModel

BATCH = 32  # windows written side by side; part of the recipe, for it decides which random number lands where


def write_windows(model: PreTrainedModel, start: int, count: int, length: int, seed: int) -> Iterator[torch.Tensor]:
    """Sample `count` windows from the model at temperature 1, in batches of up to 32.

    Every window begins with `start` (the beginning-of-text token); after an end-of-text token the model simply
    goes on with a new text, as in its training data. Batch `b` draws from a generator of its own, so a longer file
    begins with the same windows as a shorter one whose length is a multiple of 32.

    Yields:
        int64 tensors of shape (batch, length) on the CPU.
    """
    for first in range(0, count, BATCH):
        generator = torch.Generator(model.device).manual_seed(seed * 100_003 + first // BATCH)
        tokens = torch.full((min(BATCH, count - first), 1), start, device=model.device)
        written, cache = [tokens], None
        with torch.inference_mode():
            for _ in range(length - 1):
                output = model(tokens, cache=cache, use_cache=True)
                cache = output.cache
                chances = output.logits[:, -1].float().softmax(-1)
                tokens = torch.multinomial(chances, 1, generator=generator)
                written.append(tokens)
        yield torch.cat(written, dim=1).cpu()
