"""Routes through a mixture: the experts that each token is sent to, block by block.

A router's choice is a top-k, an arg-max or the first of a ranking somewhere in the block. It is known by its effect: it
names each expert as often as the expert receives tokens.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from sds_core.models.inputs import watching_inputs
from sds_core.models.linear import Linear
from sds_core.models.route_change import BlockRoutes, RouteChange
from sds_core.models.structure import Block, ModelStructure, hooked
from sds_core.models.tensor_files import save_tensors

Routes = dict[int, Tensor]
"""The experts of every token (N, k) by block index, in ascending order; those of several routers side by side."""
CHOICES = ("topk", "argmax", "max", "sort", "argsort")
"""Functions of torch whose indices may be a router's choice."""


def has_routes(structure: ModelStructure) -> bool:
    """Whether a model has experts."""
    return any(block.routed for block in structure.blocks)


class _Choices(TorchFunctionMode):
    """Collect the indices that are chosen."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if getattr(func, "__name__", "") in CHOICES:
            indices = result if isinstance(result, Tensor) else result[1]
            if indices.dtype == torch.int64:
                self.seen.append(indices)
        return result


@contextmanager
def watching_routes(block: Block, tokens: Sequence[int]) -> Iterator[list[Tensor]]:
    """Yield a list of the experts (N, k) of the tokens of each forward pass of a block inside the `with`.

    It stays empty where the choice is not known. Passes in other threads are not watched.

    Args:
        block: its parameters stay where they are inside the `with`.
        tokens: N of each pass.
    """
    found: list[Tensor] = []
    leaders = {linear.label: linear for linear in block.linears if linear.routed and linear.label == linear.input}
    if not leaders:
        yield found
        return
    received, choices, counts = Counter[str](), _Choices(), iter(tokens)

    def note(label: str, inputs: Tensor) -> None:
        received[label] += inputs.numel() // inputs.shape[-1]

    def take(module: nn.Module, args: tuple, kwargs: dict, result: Any) -> None:
        count = next(counts)
        routes = _matching([rows for one in choices.seen if (rows := _rows(one, count)) is not None], leaders, received)
        found.extend([routes] if routes is not None else [])
        choices.seen.clear()
        received.clear()

    watching = watching_inputs(block.module, list(leaders.values()))
    with choices, watching as noting, noting(note), hooked([block.module], take):
        yield found


def _rows(indices: Tensor, tokens: int) -> Tensor | None:
    """Return chosen indices as (N, k) for N tokens; None if they are no choice for each."""
    if indices.numel() == tokens:
        return indices.view(tokens, 1)
    return indices.reshape(tokens, -1) if indices.shape[:-1].numel() == tokens else None


def _matching(choices: list[Tensor], leaders: dict[str, Linear], received: Counter[str]) -> Tensor | None:
    """Return the choices (N, k) that name each expert as often as it received tokens; None if a group has none.

    Experts to which every token goes are no choice.
    """
    groups: dict[str, dict[int, int]] = {}
    for label, linear in leaders.items():
        groups.setdefault(linear.group, {})[_number(linear)] = received[label]
    taken: dict[int, Tensor] = {}
    everyone = len(choices[0]) if choices else 0
    for counts in groups.values():
        if set(counts.values()) in ({everyone}, {0}):
            continue
        for place, ranks in enumerate([*choices, *_side_by_side(choices)]):
            if (experts := _taken(ranks, counts)) is not None:
                taken[place] = experts.sort(-1).values
                break
        else:
            return None
    return torch.cat(list(taken.values()), 1).to(torch.int16).cpu() if taken else None


def _side_by_side(choices: list[Tensor]) -> list[Tensor]:
    """Return single choices (N, 1) as one (N, k), where a router makes several, one after the other."""
    single = [chosen for chosen in choices if chosen.shape[1] == 1]
    return [torch.cat(single, 1)] if len(single) > 1 else []


def _taken(ranks: Tensor, counts: dict[int, int]) -> Tensor | None:
    """Return the part of a ranking (N, m) that names each expert as often as it received tokens; None if none does.

    That is the whole of a top-k, and the first or the last of a sort of all experts. Of an expert that received none,
    nothing is asked: some are named and do nothing.
    """
    numbers = torch.tensor([number for number, tokens in counts.items() if tokens])
    received = [tokens for tokens in counts.values() if tokens]
    parts = (part for width in range(1, ranks.shape[1]) for part in (ranks[:, :width], ranks[:, -width:]))
    for part in chain([ranks], parts):
        named = part.flatten().bincount(minlength=int(numbers.max()) + 1).cpu()
        if named[numbers].tolist() == received:
            return part
    return None


def _number(linear: Linear) -> int:
    """An expert's number: its index in a parameter, or in a list of modules."""
    if linear.expert is not None:
        return linear.expert
    return int(linear.input.split(".")[linear.group.split(".").index("*")])


def route_change(own: Routes, dense: Routes) -> RouteChange | None:
    """Return how a model's routes on some windows differ from the dense model's; None if it has none."""
    both = [block for block in own if block in dense and own[block].shape == dense[block].shape]
    shares = [BlockRoutes(block, float((own[block] != dense[block]).any(1).double().mean())) for block in both]
    return RouteChange(tuple(shares)) if shares else None


def save_routes(path: Path, routes: Routes) -> None:
    """Write routes to a file."""
    save_tensors(path, {str(block): experts for block, experts in routes.items()})


def load_routes(path: Path) -> Routes:
    """Return the routes that `save_routes` wrote."""
    return {int(block): experts for block, experts in load_file(path).items()}
