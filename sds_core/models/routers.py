"""Find routers: linears whose outputs decide a top-k or arg-max, as in mixtures of experts."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

CHOICES = ("topk", "argmax", "sort", "argsort", "kthvalue", "max.dim")
CONTRACTIONS = ("mm", "linear", "matmul", "conv", "attention", "dot", "embedding", "baddbmm", "addmv", "mv")


class _ChoiceTracker(TorchDispatchMode):
    """Track tensors from the linear that made them to a choice, through elementwise operations only.

    Between a router's outputs and its choice there are a softmax or sigmoid, a bias, a mask, but never a product.
    """

    def __init__(self) -> None:
        super().__init__()
        self.origins: Any = WeakTensorKeyDictionary()
        self.chosen_by: set[nn.Module] = set()

    def mark(self, module: nn.Module, result: Any) -> None:
        """Track a linear's result, and all that is made of it."""
        if isinstance(result, Tensor):
            self.origins[result] = frozenset([module])

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = str(func).removeprefix("aten.")
        sources = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
        origins = frozenset[nn.Module]().union(*(self.origins.get(value, ()) for value in sources))
        if name.startswith(CHOICES):
            self.chosen_by |= origins
        if not any(word in name for word in CONTRACTIONS):
            for value in tree_leaves(result):
                if isinstance(value, Tensor):
                    self.origins[value] = origins
        return result


@contextmanager
def choosing(linears: list[nn.Module]) -> Iterator[Callable[[], set[nn.Module]]]:
    """Yield a function that returns the linears whose outputs decided a choice in forward passes inside the `with`."""
    tracker = _ChoiceTracker()
    mark = lambda module, _, result: tracker.mark(module, result)
    handles = [module.register_forward_hook(mark) for module in linears]
    try:
        with torch.inference_mode(), tracker:
            yield lambda: tracker.chosen_by
    finally:
        for handle in handles:
            handle.remove()
