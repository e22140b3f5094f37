"""Readings of text queries written by hand."""

from collections.abc import Sequence
from typing import Any

from sds_core.texts.query import PromptReading, TextReading, TextResult


def reading(name: str, *losses: Sequence[float], **changes: Any) -> TextReading:
    """Make what a model made of prompts.

    Args:
        name: of the model; `dense` is the dense one.
        losses: by prompt, of its tokens but the first.
        changes: fields that are not as usual; `continuation` and `sampled` are those of every prompt.
    """
    how = {"continuation": ("a", "b"), "sampled": None}
    how |= {key: changes.pop(key) for key in how if key in changes}
    prompts = tuple(PromptReading(losses=tuple(of_prompt), **how) for of_prompt in losses)
    usual = {"weights": "", "configuration": name, "seed": 0, "pruned": name != "dense", "prompts": prompts}
    return TextReading(name=name, **usual | changes)


def result(*readings: TextReading, pieces: Sequence[Sequence[str]] | None = None, **changes: Any) -> TextResult:
    """Make the result of a query; pieces are letters unless they are given."""
    lengths = [1 + len(prompt.losses) for prompt in readings[0].prompts]
    pieces = tuple(map(tuple, pieces)) if pieces else tuple(tuple("pqrstuvwxyz"[:length]) for length in lengths)
    usual = {"model": "demo", "prompts": tuple(map("".join, pieces)), "tokens": 3, "pieces": pieces}
    return TextResult(readings=readings, **usual | changes)
