"""Refuse models that look ahead: a token's loss is meaningless if the model has seen that token."""

import torch
from torch import Tensor
from transformers import PreTrainedModel

from sds_core.errors import SDSError


def refuse_look_ahead(model: PreTrainedModel, scores: Tensor) -> None:
    """Refuse a model whose scores depend on later tokens, such as BERT: nothing in its files need say so.

    Args:
        model: the model.
        scores: its logits (2, T, V) for two texts that differ in their last token alone.

    Raises:
        SDSError: the scores of earlier tokens differ too, by more than rounding.
    """
    changes = (scores[0] - scores[1]).float().abs().amax(dim=1)
    if changes[:-1].max() > changes[-1] * torch.finfo(scores.dtype).eps ** 0.5:
        raise SDSError(
            f"{type(model).__name__} reads a text in both directions: a later token changes the scores of earlier ones",
            allowed="a model that predicts each token from those before it",
            cure="if it was trained as one, its config.json must say so: is_decoder true, is_causal true, or "
            "use_bidirectional_attention false",
        )
