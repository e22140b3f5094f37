"""Find a model's decoder blocks and their prunable linears by behaviour, not by name."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from sds_core.errors import SDSError
from sds_core.models.routers import choosing
from sds_core.models.weight_store import WeightStore

PROBE_TOKENS = 8
SHARED = "its weight is pruned in an earlier block"
"""Why a linear is not pruned that shares its weight with one in an earlier block."""


@dataclass(frozen=True, eq=False)
class Linear:
    """A prunable linear map inside a block, read and written as (R, C) = (outputs, inputs)."""

    name: str
    """Full dotted name inside the model."""
    label: str
    """Name inside its block, such as `self_attn.q_proj`."""
    block: int
    """Index of its block."""
    module: nn.Linear | Conv1D
    input: str
    """Label of the first linear in the block that receives the very same input tensor; its Gram matrix is shared."""

    @property
    def weight(self) -> Tensor:
        """A view (R, C) of the weight, in the model's precision."""
        return self.module.weight.data.T if isinstance(self.module, Conv1D) else self.module.weight.data

    @property
    def shape(self) -> tuple[int, int]:
        """(R, C)."""
        rows, columns = self.weight.shape
        return rows, columns

    def read(self) -> Tensor:
        """The weight (R, C) as a float32 copy."""
        return self.weight.float().clone()

    def write(self, weight: Tensor) -> None:
        """Replace the weight by (R, C), cast once to the model's precision."""
        assert tuple(weight.shape) == self.shape
        self.weight.copy_(weight)

    def laid_out(self, weight: Tensor) -> Tensor:
        """A weight (R, C) in the orientation of the module's own."""
        return weight.T if isinstance(self.module, Conv1D) else weight


@dataclass(frozen=True, eq=False)
class Block:
    """One decoder block."""

    index: int
    name: str
    """Dotted name inside the model."""
    module: nn.Module
    linears: tuple[Linear, ...]
    """In the order of their calls."""

    @property
    def groups(self) -> list[tuple[Linear, ...]]:
        """Its linears, grouped by shared input."""
        heads = dict.fromkeys(linear.input for linear in self.linears)
        return [tuple(linear for linear in self.linears if linear.input == head) for head in heads]


@dataclass(frozen=True, eq=False)
class ModelStructure:
    """A model, its decoder blocks in order, and how hidden states enter and leave them."""

    model: PreTrainedModel
    blocks: tuple[Block, ...]
    slot: int | str
    """The argument in which a block takes hidden states: a position, or a keyword."""
    output: tuple | list | None
    """The items that a block returns after the hidden states; None where it returns these alone."""
    excluded: dict[str, str]
    """Why linears inside blocks are not pruned, by full name."""
    store: WeightStore
    """Where the blocks' weights rest between uses."""

    @property
    def prunable(self) -> int:
        """Number of weights in prunable linears."""
        return sum(linear.weight.numel() for block in self.blocks for linear in block.linears)

    @property
    def matrices(self) -> int:
        """Number of weights in all matrices of the blocks, including experts stored as one tensor."""
        found = {id(p): p.numel() for block in self.blocks for p in block.module.parameters() if p.ndim > 1}
        return sum(found.values())

    @property
    def total(self) -> int:
        """Number of weights in the whole model, shared ones once."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    def count_zeros(self) -> int:
        """Return the number of weights in the whole model that are exactly zero, whatever made them so."""
        return sum(int((parameter == 0).sum()) for parameter in self.store.parameters(self.model))

    def wrap(self, hidden: Tensor) -> Any:
        """Hidden states in the container that the blocks return."""
        return hidden if self.output is None else type(self.output)([hidden, *self.output])


@dataclass
class _ModuleCall:
    """One call of a module during the probe: its arguments and its result."""

    module: nn.Module
    args: tuple
    kwargs: dict[str, Any]
    result: Any
    is_product: bool
    """Whether the result is input times weight plus bias; checked at once, as some blocks add to it later."""

    def receives(self, hidden: Tensor) -> int | str | None:
        """The argument that is `hidden`, or else an equal copy, as some families make between blocks."""
        arguments: list[tuple[int | str, Any]] = [*enumerate(self.args), *self.kwargs.items()]
        tensors = [(place, value) for place, value in arguments if isinstance(value, Tensor)]
        itself = next((place for place, value in tensors if value is hidden), None)
        return next((place for place, value in tensors if _equal(value, hidden)), None) if itself is None else itself


def _equal(value: Tensor, hidden: Tensor) -> bool:
    return value.shape == hidden.shape and value.dtype == hidden.dtype and torch.equal(value, hidden)


def hidden_of(output: Any) -> Tensor:
    """The hidden states in a block's output: the tensor itself, or the first item of a tuple or list."""
    return output if isinstance(output, Tensor) else output[0]


@contextmanager
def hooked(modules: list[nn.Module], hook: Callable[[nn.Module, tuple, dict, Any], None]) -> Iterator[None]:
    """Call `hook(module, args, kwargs, result)` after each call of the modules, inside the `with` only."""
    with ExitStack() as stack:
        for module in modules:
            stack.callback(module.register_forward_hook(hook, with_kwargs=True).remove)
        yield


def find_blocks(model: PreTrainedModel, store: WeightStore | None = None) -> ModelStructure:
    """Find the decoder blocks: the largest `ModuleList` whose items are called once each, in order, in a chain.

    One short forward pass with hooks shows who receives whose output; no class or attribute name is relied upon.

    Args:
        model: a causal language model.
        store: where the weights of its blocks rest; None for memory.

    Raises:
        SDSError: no list behaves like that; the lists there are are named.
    """
    store = store or WeightStore()
    lists = {name: m for name, m in model.named_modules() if isinstance(m, nn.ModuleList) and len(m)}
    linears = {m: name for name, m in model.named_modules() if isinstance(m, nn.Linear | Conv1D)}
    calls: list[_ModuleCall] = []  # keeps every tensor alive, so that no address is used twice

    def record(module: nn.Module, args: tuple, kwargs: dict, result: Any) -> None:
        calls.append(_ModuleCall(module, args, kwargs, result, _is_product(module, args, result)))

    watched = dict.fromkeys([*(item for items in lists.values() for item in items), *linears])
    tokens = torch.arange(PROBE_TOKENS, device=model.device)[None] % model.config.get_text_config().vocab_size
    with choosing(list(linears)) as routers, hooked(list(watched), record), store.loading_on_call():
        model(tokens, use_cache=False)

    chains = {name: chain for name, items in lists.items() if (chain := _chain(items, calls))}
    if not chains:
        raise SDSError(
            f"no decoder blocks were found in {type(model).__name__}",
            allowed="a causal model with a list of blocks that feed each other",
            cure=f"lists in this model: {', '.join(lists) or 'none'}",
        )
    name = max(chains, key=lambda key: sum(p.numel() for p in lists[key].parameters()))
    chain = chains[name]
    slot = chain[1].receives(hidden_of(chain[0].result)) if len(chain) > 1 else 0
    assert slot is not None
    first = chain[0].result
    probe, pruned, excluded = _Probe(linears, calls, routers()), set[int](), dict[str, str]()
    blocks = tuple(
        Block(i, f"{name}.{i}", item, _prunable_linears(i, f"{name}.{i}", item, probe, pruned, excluded))
        for i, item in enumerate(lists[name])
    )
    return ModelStructure(model, blocks, slot, None if isinstance(first, Tensor) else first[1:], excluded, store)


def _chain(items: nn.ModuleList, calls: list[_ModuleCall]) -> list[_ModuleCall] | None:
    """The items' calls, if each item was called exactly once, in order, and received its predecessor's output."""
    ids = {id(item) for item in items}
    chain = [call for call in calls if id(call.module) in ids]
    if [id(call.module) for call in chain] != [id(item) for item in items]:
        return None
    if not all(isinstance(call.result, Tensor | tuple | list) for call in chain):
        return None
    for before, after in zip(chain, chain[1:], strict=False):
        if after.receives(hidden_of(before.result)) is None:
            return None
    return chain


@dataclass(frozen=True)
class _Probe:
    """The calls of the probing forward pass."""

    names: dict[nn.Linear | Conv1D, str]
    """Full names of all linears."""
    calls: list[_ModuleCall]
    routers: set[nn.Module]
    """Linears whose outputs decide a choice."""

    def reason_to_exclude(self, call: _ModuleCall) -> str:
        """Why a linear that was called is not pruned; empty if it is."""
        linear = call.module
        assert isinstance(linear, nn.Linear | Conv1D)
        if linear in self.routers:
            return "it is a router: its outputs decide a choice"
        if linear.weight.shape[1 if isinstance(linear, Conv1D) else 0] == 1:
            return "it has one output"
        if not call.is_product:
            return "its output is not the product with its weight"
        return ""


def _is_product(module: nn.Module, args: tuple, result: Any) -> bool:
    """Whether a module's result is its input times its weight plus bias; classes derived from linears may differ."""
    if not isinstance(module, nn.Linear | Conv1D) or not args or not isinstance(result, Tensor):
        return False
    if type(module) in (nn.Linear, Conv1D):
        return True
    if args[0].shape[-1] != module.weight.shape[1]:
        return False
    plain = nn.functional.linear(args[0], module.weight, module.bias)
    return plain.shape == result.shape and torch.allclose(plain, result, rtol=0, atol=1e-2 * float(plain.abs().max()))


def _prunable_linears(
    index: int, block: str, module: nn.Module, probe: _Probe, pruned: set[int], excluded: dict[str, str]
) -> tuple[Linear, ...]:
    """The prunable linears of a block in the order of their calls.

    Adds the identities of their weights to `pruned`, and the other linears with the reason to `excluded`.
    """
    head_by_input: dict[tuple, str] = {}
    found: dict[nn.Module, Linear] = {}
    inside = {m for m in module.modules() if isinstance(m, nn.Linear | Conv1D)}
    reasons = dict.fromkeys(inside, "it is never called")
    for call in probe.calls:
        linear = call.module
        if linear not in inside or linear in found:
            continue
        reasons[linear] = probe.reason_to_exclude(call) or (SHARED if id(linear.weight) in pruned else "")
        if reasons[linear]:
            continue
        pruned.add(id(linear.weight))
        label = probe.names[linear].removeprefix(f"{block}.")
        tensor = call.args[0]
        memory = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride())
        found[linear] = Linear(probe.names[linear], label, index, linear, head_by_input.setdefault(memory, label))
    excluded |= {probe.names[linear]: why for linear, why in reasons.items() if why and linear not in found}
    return tuple(found.values())
