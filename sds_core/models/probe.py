"""Decide from one short forward pass which linears of a block can be pruned, and why others cannot."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from sds_core.models.expert_modules import experts_at_rest, marked_as_routed
from sds_core.models.linear import SHARED, Linear
from sds_core.models.products import Stack

UNCALLED = "it is never called"
REPEATED = "it is called with several inputs"


@dataclass
class ModuleCall:
    """One call of a module during the probe: its arguments and its result."""

    module: nn.Module
    args: tuple
    kwargs: dict[str, Any]
    result: Any
    is_product: bool
    """Whether the result is input times weight plus bias; checked at once, as some blocks add to it later."""

    @property
    def tokens(self) -> int:
        """Number of tokens that it received."""
        inputs = next((value for value in (*self.args, *self.kwargs.values()) if isinstance(value, Tensor)), None)
        return 0 if inputs is None or not inputs.numel() else inputs.numel() // inputs.shape[-1]

    def receives(self, hidden: Tensor) -> int | str | None:
        """Return the argument that is `hidden`, or else an equal copy, as some families make between blocks."""
        arguments: list[tuple[int | str, Any]] = [*enumerate(self.args), *self.kwargs.items()]
        tensors = [(place, value) for place, value in arguments if isinstance(value, Tensor)]
        itself = next((place for place, value in tensors if value is hidden), None)
        return next((place for place, value in tensors if _equal(value, hidden)), None) if itself is None else itself


def _equal(value: Tensor, hidden: Tensor) -> bool:
    return value.shape == hidden.shape and value.dtype == hidden.dtype and torch.equal(value, hidden)


def is_product(module: nn.Module, args: tuple, result: Any) -> bool:
    """Whether a module's result is its input times its weight plus bias; classes derived from linears may differ."""
    if not isinstance(module, nn.Linear | Conv1D) or not args or not isinstance(result, Tensor):
        return False
    if type(module) in (nn.Linear, Conv1D):
        return True
    if args[0].shape[-1] != module.weight.shape[1]:
        return False
    plain = nn.functional.linear(args[0], module.weight, module.bias)
    return plain.shape == result.shape and torch.allclose(plain, result, rtol=0, atol=1e-2 * float(plain.abs().max()))


@dataclass(frozen=True)
class Probe:
    """The calls of the probing forward pass, and the findings in the blocks examined so far."""

    names: Mapping[nn.Linear | Conv1D, str]
    """Full names of all linears."""
    calls: list[ModuleCall]
    routers: set[nn.Module]
    """Linears whose outputs decide a choice."""
    stacks: Mapping[str, Stack]
    """Parameters of three dimensions, by full name."""
    tokens: int
    """Number of tokens that the pass read."""
    pruned: set[int] = field(default_factory=set)
    """Identities of the parameters that are pruned."""
    excluded: dict[str, str] = field(default_factory=dict)
    """Why other linears inside blocks are not pruned, by full name."""

    def linears(self, index: int, block: str, module: nn.Module) -> tuple[Linear, ...]:
        """Return the prunable linears of a block in the order of their calls; note what is not prunable, and why."""
        found = [*self._modules(index, block, module), *self._experts(index, block, module)]
        return tuple(linear for _, linear in sorted(found, key=lambda entry: entry[0]))

    def _modules(self, index: int, block: str, module: nn.Module) -> list[tuple[int, Linear]]:
        """Return the prunable linears that are modules, each with the number of calls before its own."""
        leaders: dict[tuple, str] = {}
        inside = {m for m in module.modules() if isinstance(m, nn.Linear | Conv1D)}
        reasons = dict.fromkeys(inside, UNCALLED)
        repeated = self._repeated(module, inside)
        found = list[tuple[int, Linear]]()
        for place, call in enumerate(self.calls):
            linear = call.module
            if linear not in inside or not reasons[linear] or not call.tokens:
                continue
            reasons[linear] = self._reason_to_exclude(call) or (REPEATED if linear in repeated else "")
            if reasons[linear]:
                continue
            self.pruned.add(id(linear.weight))
            name = self.names[linear]
            label = name.removeprefix(f"{block}.")
            leader = leaders.setdefault(_memory(call.args[0]), label)
            transposed = isinstance(linear, Conv1D)
            found.append((place, Linear(name, label, index, linear, f"{label}.weight", leader, leader, transposed)))
        resting = {
            self.names[linear].removeprefix(f"{block}."): linear
            for linear, why in reasons.items()
            if why == UNCALLED and id(linear.weight) not in self.pruned
        }
        experts = experts_at_rest(module, found, resting)
        self.pruned.update(id(expert.parameter) for _, expert in experts)
        woken = {expert.name for _, expert in experts}
        self.excluded.update({self.names[x]: why for x, why in reasons.items() if why and self.names[x] not in woken})
        partly = {linear.label for place, linear in found if self.calls[place].tokens < self.tokens}
        return marked_as_routed(module, found + experts, partly | {expert.label for _, expert in experts})

    def _repeated(self, block: nn.Module, linears: Collection[nn.Module]) -> set[nn.Module]:
        """Return those of a block's linears that received several inputs by the time the block was done."""
        inputs: dict[nn.Module, set[tuple]] = {}
        for call in takewhile(lambda call: call.module is not block, self.calls):
            if call.module in linears and call.args and isinstance(call.args[0], Tensor):
                inputs.setdefault(call.module, set()).add(_memory(call.args[0]))
        return {linear for linear, seen in inputs.items() if len(seen) > 1}

    def _reason_to_exclude(self, call: ModuleCall) -> str:
        """Why a linear that was called is not pruned; empty if it is."""
        linear = call.module
        assert isinstance(linear, nn.Linear | Conv1D)
        if linear in self.routers:
            return "it is a router: its outputs decide a choice"
        if linear.weight.shape[1 if isinstance(linear, Conv1D) else 0] == 1:
            return "it has one output"
        if not call.is_product:
            return "its output is not the product with its weight"
        return SHARED if id(linear.weight) in self.pruned else ""

    def _experts(self, index: int, block: str, module: nn.Module) -> Iterator[tuple[int, Linear]]:
        """Yield the slices of the parameters of three dimensions, each with the number of calls before the first's."""
        leaders: dict[tuple, str] = {}
        inside = set(module.modules())
        for name, stack in self.stacks.items():
            if stack.module not in inside:
                continue
            if id(stack.parameter) in self.pruned:
                self.excluded[name] = SHARED
                continue
            if stack.inputs is None:
                self.excluded[name] = "no product of tokens with its slices was seen"
                continue
            if stack.parameter.shape[2 if stack.transposed else 1] == 1:
                self.excluded[name] = "its slices have one output"
                continue
            self.pruned.add(id(stack.parameter))
            place = name.removeprefix(f"{block}.")
            leader = leaders.setdefault(_memory(stack.inputs), place)
            for expert in range(len(stack.parameter)):
                label, shared = _expert_label(place, expert), _expert_label(leader, expert)
                full = name.removesuffix(place) + label
                yield (
                    stack.place,
                    Linear(full, label, index, stack.module, place, shared, leader, stack.transposed, expert, True),
                )


def _memory(tensor: Tensor) -> tuple:
    return tensor.data_ptr(), tuple(tensor.shape), tensor.stride()


def _expert_label(place: str, expert: int) -> str:
    """`mlp.experts.17.down_proj` for the parameter `mlp.experts.down_proj`."""
    owner, dot, parameter = place.rpartition(".")
    return f"{owner}{dot}{expert}.{parameter}"
