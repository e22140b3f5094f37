"""The parts of a block whose layers are adjusted together, and their outputs with given weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sds_core.models.hidden_states import HiddenStates, empty_like
from sds_core.models.linear import Linear
from sds_core.models.placement import on_device
from sds_core.models.stream import Stream
from sds_core.models.structure import Block, hidden_of, hooked
from sds_core.pruning.reconstruction import Window


@dataclass(frozen=True, eq=False)
class Part:
    """Layers of a block that are adjusted together, and the module whose output they are to reproduce."""

    module: nn.Module
    """The block, or a module inside it."""
    linears: tuple[Linear, ...]


def parts_of(block: Block, window: Window, stream: Stream) -> list[Part]:
    """Return the parts of a block that a window covers one after the other, in the order of their calls.

    A submodule is the outermost module inside the block that the block calls and that holds several layers; layers that
    are in none form a part of their own, whose output is the block's.

    Args:
        block: the block.
        window: the submodules, or the block as a whole.
        stream: in front of the block; not advanced.
    """
    if window == "block":
        return [Part(block.module, block.linears)]
    called = set[nn.Module]()
    note = lambda module, args, kwargs, result: called.add(module)
    with stream.running(block.module), hooked([*block.module.modules()], note):
        stream.replay(0)
    found: dict[nn.Module, list[Linear]] = {}
    for linear in block.linears:
        names = linear.owner.split(".")
        around = (block.module.get_submodule(".".join(names[:end])) for end in range(1, len(names) + 1))
        outermost = next((module for module in around if module in called), block.module)
        whole = outermost is linear.module and linear.expert is None
        found.setdefault(block.module if whole else outermost, []).append(linear)
    return [Part(module, tuple(linears)) for module, linears in found.items()]


def teacher_part_outputs(teacher: Stream, block: nn.Module, parts: Sequence[Part]) -> list[HiddenStates]:
    """Return the outputs (1, T, C) of each part in the dense model, window by window, in float32; a block's without its
    inputs.

    Args:
        teacher: in front of the block, inside the dense model; not advanced.
        block: dense.
        parts: of it.
    """
    store = teacher.structure.store
    found = [empty_like(teacher.hidden) for _ in parts]
    with on_device(block, teacher.device, store), torch.no_grad():
        for window, hidden in enumerate(teacher.hidden):
            for part, outputs in zip(parts, found, strict=True):
                output = output_of(block, part.module, {}, *teacher.arguments(window)).float()
                outputs.append(output - hidden.to(teacher.device).float() if part.module is block else output)
    return found


def target_outputs(
    stream: Stream,
    block: Block,
    part: Part,
    weights: Mapping[Linear, Tensor],
    teacher_outputs: HiddenStates | None = None,
    beta: float = 0.0,
) -> HiddenStates:
    """Return what a part of the block is to make of every window, (1, T, C) each, in float32.

    As for layers (`LayerProblem.shift`), a share of what it adds is the teacher's: h + (1 − β)·F(h) + β·F(h_dense),
    where F is what the dense part adds, h the hidden states in the pruned model and h_dense those in the dense one. A
    module inside the block has no h to keep.

    Args:
        stream: in front of the block; not advanced.
        block: the block.
        part: the part of it.
        weights: of the block's linears (R, C); the part's own are dense.
        teacher_outputs: from `teacher_part_outputs`.
        beta: the teacher's share.
    """
    targets = empty_like(stream.hidden)
    whole = part.module is block.module
    with on_device(block.module, stream.device, stream.structure.store), torch.no_grad():
        parameters = parameters_of({linear: weight.to(stream.device) for linear, weight in weights.items()})
        for window, hidden in enumerate(stream.hidden):
            output = output_of(block.module, part.module, parameters, *stream.arguments(window)).float()
            if teacher_outputs is not None:
                own = output - hidden.to(stream.device).float() if whole else output
                output = output + beta * (teacher_outputs[window].to(stream.device) - own)
            targets.append(output)
    return targets


class _Reached(Exception):
    """The module whose output is asked for has been called; the rest of the block is not needed."""


def output_of(
    block: nn.Module, module: nn.Module, parameters: dict[str, Tensor], args: tuple, kwargs: dict[str, Any]
) -> Tensor:
    """Return the output (1, T, C) of a module inside a block, or of the block, given parameters of the block."""
    if module is block:
        return hidden_of(torch.func.functional_call(block, parameters, args, kwargs))
    outputs: list[Tensor] = []

    def note(called: nn.Module, args: tuple, result: Any) -> None:
        outputs.append(hidden_of(result))
        raise _Reached

    handle = module.register_forward_hook(note)
    try:
        torch.func.functional_call(block, parameters, args, kwargs)
    except _Reached:
        pass
    finally:
        handle.remove()
    return outputs[0]


def parameters_of(weights: Mapping[Linear, Tensor]) -> dict[str, Tensor]:
    """Return a block's parameters by name, given weights (R, C) of its linears; other experts' are as they are."""
    found: dict[str, Tensor] = {}
    experts: dict[str, list[Tensor]] = {}
    for linear, weight in weights.items():
        stored = linear.laid_out(weight.to(linear.weight.dtype))
        if linear.expert is None:
            found[linear.place] = stored
        else:
            experts.setdefault(linear.place, list(linear.parameter.data))[linear.expert] = stored
    return found | {place: torch.stack(slices) for place, slices in experts.items()}
