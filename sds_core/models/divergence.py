"""The divergence of a model's next-token distributions from another's, with its gradient, a few tokens at a time."""

from typing import Any

import torch
from torch import Tensor

CHUNK = 1 << 17
"""Logits that a CPU works on at once, so that they stay in its cache: a fourth of the time of all at once."""
CHUNK_ELSEWHERE = 1 << 25
"""On other devices, where a call costs more than the memory."""


def divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """Return KL(teacher ‖ student), the mean over tokens, in float32.

    Args:
        student: logits (tokens, vocabulary), which receive a gradient.
        teacher: logits of the same shape, which do not.
    """
    found = _Divergence.apply(student, teacher)
    assert isinstance(found, Tensor)
    return found


class _Divergence(torch.autograd.Function):
    """The gradient with respect to logits is the difference of the probabilities, which are there already."""

    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor) -> Tensor:
        tokens, vocabulary = student.shape
        total = torch.zeros((), device=student.device)
        gradient = torch.empty_like(student) if ctx.needs_input_grad[0] else None
        chunk = CHUNK if student.device.type == "cpu" else CHUNK_ELSEWHERE
        for rows in torch.arange(tokens).split(max(1, chunk // vocabulary)):
            part = slice(int(rows[0]), int(rows[-1]) + 1)
            found, wanted = (logits[part].float().log_softmax(-1) for logits in (student, teacher))
            probable = wanted.exp()
            total += wanted.sub_(found).mul_(probable).sum()
            if gradient is not None:
                gradient[part] = found.exp_().sub_(probable)
        if gradient is not None:
            ctx.save_for_backward(gradient)
        return total / tokens

    @staticmethod
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * (scale / len(gradient)).to(gradient.dtype), None
