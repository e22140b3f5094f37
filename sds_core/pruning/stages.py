"""The names of what happens: walks over a model's blocks, and the states that a layer's weight goes through."""

from typing import Literal

Phase = Literal["fused", "sparse", "redense", "final"]
"""A walk over the blocks: all phases at once, or the paper's phases 1, 2 and 3."""
Stage = Literal["dense", "sparse", "redense", "final"]
"""The four states of a layer's weight: untouched, after phase 1, after phase 2, after phase 3."""
