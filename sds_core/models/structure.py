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
from sds_core.models.linear import Linear
from sds_core.models.look_ahead import refuse_look_ahead
from sds_core.models.probe import ModuleCall, Probe, is_product
from sds_core.models.products import stacks, watching_products
from sds_core.models.routers import choosing
from sds_core.models.weight_store import WeightStore

PROBE_TOKENS = 8


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
    def routed(self) -> bool:
        """Whether it has experts, so that only some tokens reach some of its linears."""
        return any(linear.routed for linear in self.linears)

    @property
    def groups(self) -> list[tuple[Linear, ...]]:
        """Its linears in groups that are observed together (`Linear.group`)."""
        groups = dict.fromkeys(linear.group for linear in self.linears)
        return [tuple(linear for linear in self.linears if linear.group == group) for group in groups]


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
    """Why linears inside blocks, and parameters of three dimensions, are not pruned, by full name."""
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
        """Return the number of weights in the whole model that are exactly zero, pruned or not."""
        return sum(int((parameter == 0).sum()) for parameter in self.store.parameters(self.model))

    def wrap(self, hidden: Tensor) -> Any:
        """Hidden states in the container that the blocks return."""
        return hidden if self.output is None else type(self.output)([hidden, *self.output])


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

    One short forward pass with hooks shows which block receives whose output; no class or attribute name matters. It
    reads two texts that differ in their last token alone, which shows whether the model looks ahead.

    Args:
        model: a causal language model.
        store: where the weights of its blocks rest; None for memory.

    Raises:
        SDSError: no list behaves like that; the message names all lists. Or the model looks ahead.
    """
    store = store or WeightStore()
    lists = {name: m for name, m in model.named_modules() if isinstance(m, nn.ModuleList) and len(m)}
    probe = _run_once(model, lists, store)
    chains = {name: chain for name, items in lists.items() if (chain := _chain(items, probe.calls))}
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
    blocks = tuple(
        Block(i, f"{name}.{i}", item, probe.linears(i, f"{name}.{i}", item)) for i, item in enumerate(lists[name])
    )
    return ModelStructure(model, blocks, slot, None if isinstance(first, Tensor) else first[1:], probe.excluded, store)


def _run_once(model: PreTrainedModel, lists: dict[str, nn.ModuleList], store: WeightStore) -> Probe:
    """Return what one short forward pass shows of the model's linears and of the items of its lists.

    Raises:
        SDSError: the model looks ahead.
    """
    linears = {m: name for name, m in model.named_modules() if isinstance(m, nn.Linear | Conv1D)}
    calls: list[ModuleCall] = []  # keeps every tensor alive, so that no address is reused
    experts = stacks(model)
    model.set_experts_implementation("eager")  # one product an expert; others copy or sort the weights

    def record(module: nn.Module, args: tuple, kwargs: dict, result: Any) -> None:
        calls.append(ModuleCall(module, args, kwargs, result, is_product(module, args, result)))

    def note(matrix: Tensor, inputs: Tensor) -> None:
        for stack in experts.values():
            stack.note(matrix, inputs, len(calls))

    watched = dict.fromkeys([*(item for items in lists.values() for item in items), *linears])
    tokens = torch.arange(PROBE_TOKENS, device=model.device).expand(2, -1).clone()
    tokens[1, -1] += 1
    tokens %= model.config.get_text_config().vocab_size
    with (
        choosing(list(linears)) as routers,
        hooked(list(watched), record),
        store.loading_on_call(),
        watching_products(note),
    ):
        scores = model(tokens, use_cache=False).logits
    refuse_look_ahead(model, scores)
    return Probe(linears, calls, routers(), experts, tokens.numel())


def _chain(items: nn.ModuleList, calls: list[ModuleCall]) -> list[ModuleCall] | None:
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
